"""JSON Schema of a dataclass as `validate` takes it: types, defaults, and the docstrings below its fields."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import types
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin

from studies.engine.core.typing_check import fields, to_json

Schema = dict[str, Any]
_SCALARS: dict[Any, str] = {int: "integer", float: "number", bool: "boolean", str: "string"}


def schema_of(kind: Any) -> Schema:
    """Return the schema of a type; nested dataclasses stand in it whole."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _dataclass(kind)
    if kind in _SCALARS:
        return {"type": _SCALARS[kind]}
    if kind in (None, type(None)):
        return {"type": "null"}
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [schema_of(member) for member in arguments]}
    if origin in (list, tuple, Sequence):
        return {"type": "array", "items": schema_of(arguments[0]) if arguments else {}}
    if origin in (dict, Mapping):
        return {"type": "object", "additionalProperties": schema_of(arguments[1]) if arguments else {}}
    return {}


def _dataclass(kind: type) -> Schema:
    texts, properties, required = descriptions(kind), dict[str, Schema](), list[str]()
    for key, (field, hint) in fields(kind).items():
        properties[key] = schema_of(hint)
        if text := texts.get(field.name):
            properties[key]["description"] = text
        if field.default is not dataclasses.MISSING:
            properties[key]["default"] = to_json(field.default)
        elif field.default_factory is dataclasses.MISSING:
            required.append(key)
    found: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**found, "required": required} if required else found


@cache
def descriptions(kind: type) -> Mapping[str, str]:
    """Return the docstring below each field, of the classes that it is derived from too."""
    found: dict[str, str] = {}
    for one in reversed([base for base in kind.__mro__ if dataclasses.is_dataclass(base)]):
        body = ast.parse(inspect.cleandoc(inspect.getsource(one))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, text in zip(body.body, body.body[1:], strict=False):
            is_text = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and is_text:
                assert isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
                found[field.target.id] = " ".join(str(text.value.value).split())
    return found
