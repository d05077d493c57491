"""JSON Schema of a table file, for editors."""

from __future__ import annotations

from typing import Any

from paper_tables.schema.table_file import Spec


def table_file_schema() -> dict[str, Any]:
    """Return the schema; what a key may be in several ways is `anyOf`, as ways overlap in what they take."""
    schema = _any_of(Spec.model_json_schema())
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "A table file of dynvit"}


def _any_of(value: Any) -> Any:
    if isinstance(value, list):
        return [_any_of(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {key: _any_of(item) for key, item in value.items() if key != "discriminator"}
    if "oneOf" in found:
        found["anyOf"] = found.pop("oneOf")
    return found
