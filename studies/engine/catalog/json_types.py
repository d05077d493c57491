"""JSON Schema, as dynvit describes itself in it, back to types that `conform` takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal, Union

from studies.engine.core.typing_check import validate

Schema = Mapping[str, Any]
_SCALARS = {"integer": int, "number": float, "string": str, "boolean": bool, "null": None}


def python_type(schema: Schema) -> Any:
    """Return the type of a schema; Any for one that says nothing."""
    if "properties" in schema:
        return config_class(schema)
    if "enum" in schema:
        return Literal[tuple(schema["enum"])]
    if "anyOf" in schema:
        return Union[tuple(python_type(member) for member in schema["anyOf"])]  # noqa: UP007 - made at run time
    match schema.get("type"):
        case "array" if "prefixItems" in schema:
            return tuple[tuple(python_type(item) for item in schema["prefixItems"])]  # type: ignore[misc]
        case "array":
            return Sequence[python_type(schema.get("items", {}))]  # type: ignore[misc]
        case "object":
            return Mapping[str, python_type(schema.get("additionalProperties", {}))]  # type: ignore[misc]
        case str(name):
            return _SCALARS[name]
    return Any


def config_class(schema: Schema) -> type:
    """Return a frozen dataclass with the schema's properties as fields: types, defaults, metadata, but no rules."""
    fields: list[tuple[str, Any, Any]] = []
    for key, item in schema["properties"].items():
        kind = python_type(item)
        metadata = {name[2:]: value for name, value in item.items() if name.startswith("x-")}
        name = metadata.pop("name", key)
        options: dict[str, Any] = {"metadata": {**metadata, **({} if name == key else {"key": key})}}
        if "default" in item:
            options["default_factory"] = partial(_default, kind, item["default"])
        fields.append((name, kind, dataclasses.field(**options)))
    return dataclasses.make_dataclass(schema["title"], fields, frozen=True, kw_only=True)


def _default(kind: Any, value: Any) -> Any:
    return validate(kind, value, [])
