"""Python types, signatures and dataclasses as JSON Schema."""

from __future__ import annotations

import dataclasses
import inspect
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from dynvit.describe.docs import field_docs, first_paragraph

Schema = dict[str, Any]
NOT_SHOWN = ("key", "choices")
"""Metadata of a field that its schema has in another form."""
_SCALARS = {int: "integer", float: "number", str: "string", bool: "boolean", type(None): "null", None: "null"}
_ARRAYS = (list, tuple, set, frozenset, Sequence, Iterable)


def type_schema(kind: Any) -> Schema:
    """Return the schema of a type; ``{}`` (any value) for one that JSON has no match for, such as a callable."""
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return dataclass_schema(kind)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, types.UnionType):
        members = [type_schema(member) for member in arguments]
        return {} if {} in members else {"anyOf": members}
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        return {"type": "array", "prefixItems": [type_schema(item) for item in arguments]}
    if origin in _ARRAYS:
        return {"type": "array", **({"items": items} if arguments and (items := type_schema(arguments[0])) else {})}
    if origin in (dict, Mapping):
        values = type_schema(arguments[1]) if arguments else {}
        return {"type": "object", **({"additionalProperties": values} if values else {})}
    try:
        return {"type": _SCALARS[kind]} if kind in _SCALARS else {}
    except TypeError:  # an unhashable annotation
        return {}


def dataclass_schema(cls: type) -> Schema:
    """Return the schema of a dataclass: its fields, nested ones included, with defaults and attribute docstrings.

    ``x-kind`` and ``x-given`` are the field's metadata: a field may hold a model, and the task set some of its options.
    ``x-of`` is the part of the description where the names of a field's extensions stand, with their options.
    """
    hints, docs = get_type_hints(cls), field_docs(cls)
    properties: dict[str, Schema] = {}
    required = []
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        key = field.metadata.get("key", field.name)
        schema = {**type_schema(hints[field.name]), "x-name": field.name}
        if key == field.name:
            del schema["x-name"]
        if "choices" in field.metadata:
            schema = {"enum": field.metadata["choices"]()}
        schema |= {f"x-{name}": plain(value) for name, value in field.metadata.items() if name not in NOT_SHOWN}
        if field.default is not dataclasses.MISSING:
            schema["default"] = plain(field.default)
        elif field.default_factory is not dataclasses.MISSING:
            schema["default"] = plain(field.default_factory())
        else:
            required.append(key)
        if doc := docs.get(field.name):
            schema["description"] = doc
        properties[key] = schema
    return object_schema(properties, required, title=cls.__name__, description=first_paragraph(cls))


def options_schema(options: Mapping[str, inspect.Parameter], hints: Mapping[str, Any], open_ended: bool) -> Schema:
    """Return the schema of keyword options. open_ended: others are accepted too."""
    properties, required = {}, []
    for name, parameter in options.items():
        schema = type_schema(hints.get(name, Any))
        if parameter.default is parameter.empty:
            required.append(name)
        elif is_json(parameter.default):
            schema["default"] = plain(parameter.default)
        properties[name] = schema
    return object_schema(properties, required, open_ended=open_ended)


def object_schema(
    properties: dict[str, Schema], required: list[str], open_ended: bool = False, **annotations: str
) -> Schema:
    """Return the schema of a mapping with these keys. annotations: title and description, left out where empty."""
    return {
        "type": "object",
        **{key: text for key, text in annotations.items() if text},
        "properties": properties,
        **({"required": required} if required else {}),
        "additionalProperties": open_ended,
    }


def plain(value: Any) -> Any:
    """Return a value as JSON has it: dataclasses as mappings, tuples and sets as lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        named = {f.metadata.get("key", f.name): getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
        further = named.pop(further_field(type(value)), {})
        return {key: plain(item) for key, item in {**named, **further}.items()}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(plain(item) for item in value)
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def further_field(cls: type) -> str:
    """Return the name of the field that holds all keys of a mapping that are none of its fields; empty: none does."""
    return next((f.name for f in dataclasses.fields(cls) if f.metadata.get("kind") == "further"), "")


def is_json(value: Any) -> bool:
    """Return whether JSON can hold the value."""
    value = plain(value)
    if isinstance(value, dict):
        return all(is_json(item) for item in value.values())
    if isinstance(value, list):
        return all(is_json(item) for item in value)
    return value is None or isinstance(value, bool | int | float | str)
