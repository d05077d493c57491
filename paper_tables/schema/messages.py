"""What is wrong with a value of a table file, in its words: the value, what would be right, the nearest name."""

from __future__ import annotations

import json
import re
from typing import Any

from paper_tables.core.errors import suggest

_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
"""Type of an error -> what the value should have been."""
_PATTERNS = {
    "^[A-Za-z0-9_-]+$": "is no name: letters A to Z, digits, _ - only",
    "^[A-Za-z0-9:._-]*$": "is no label: letters A to Z, digits, : . _ - only",
}
_LONGEST = 60
"""Characters of a value that are shown."""


def in_words(error: dict[str, Any]) -> str:
    """Return what is wrong with a value, for an error as pydantic's `errors()` has them."""
    kind, value, about = str(error["type"]), error["input"], error.get("ctx", {})
    if kind == "literal_error":
        return _choice(value, re.findall("'([^']*)'", about["expected"]))
    if kind == "union_tag_invalid":
        return _choice(about["tag"], re.findall("'([^']*)'", about["expected_tags"]))
    if kind == "union_tag_not_found":
        return "is missing"
    if kind in _WANTED:
        return f"{_shown(value)} is not {_WANTED[kind]}"
    if kind == "string_pattern_mismatch" and about["pattern"] in _PATTERNS:
        return f"{_shown(value)} {_PATTERNS[about['pattern']]}"
    text = str(error["msg"]).removeprefix("Value error, ")
    return text[:1].lower() + text[1:]


def _choice(value: Any, known: list[str]) -> str:
    hint = suggest(value, known) if isinstance(value, str) else ""
    return f"{_shown(value)} is not one of {', '.join(known)}{hint if 'did you mean' in hint else ''}"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
