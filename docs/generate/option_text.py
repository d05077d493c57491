"""Markdown tables, and JSON Schema in words."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

NAMES = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false",
         "null": "null", "object": "mapping"}  # fmt: skip


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; empty where it has no rows."""
    lines = ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]
    return "\n".join(["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads), *lines, ""]) if lines else ""


def _cell(text: str) -> str:
    pieces = " ".join(text.split()).split("`")  # within backticks a bar is no border
    return "`".join(piece if i % 2 else piece.replace("|", "\\|") for i, piece in enumerate(pieces))


def code(value: Any) -> str:
    """Return a value as a study file has it."""
    return f"`{value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)}`"


def kind(schema: Mapping[str, Any]) -> str:
    """Return the type of a JSON Schema in words."""
    if "enum" in schema:
        return ", ".join(map(code, schema["enum"]))
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(map(kind, schema["anyOf"])))
    if schema.get("type") == "array":
        items = schema.get("items") or next(iter(schema.get("prefixItems", [])), {})
        return f"list of {_plural(kind(items))}" if items else "list"
    return NAMES.get(str(schema.get("type")), "any value")


def _plural(text: str) -> str:
    return f"{text}s" if text in ("whole number", "number", "text") else text


def option_rows(schema: Mapping[str, Any], prefix: str = "") -> Iterable[Sequence[str]]:
    """Yield a row (key, type, default, meaning) for each option, those of nested sections under dotted keys."""
    for name, option in schema.get("properties", {}).items():
        key = f"{prefix}{name}"
        if option.get("properties"):
            yield from option_rows(option, f"{key}.")
            continue
        default = code(option["default"]) if "default" in option else "required"
        yield f"`{key}`", kind(option), default, option.get("description", "")
