"""Own data sets, losses and metrics as JSON: the schema of their options, and where they are from."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from dynvit.config.extensions import DATA_SETS, LOSSES, METRICS, DataSet, Extension, Metric
from dynvit.describe.docs import first_paragraph, mentioned
from dynvit.describe.json_schema import options_schema
from dynvit.plugins import origins


def describe_extensions() -> dict[str, dict[str, Any]]:
    """Return ``{"data_sets", "losses", "metrics"}``, each by name: a description, the schema of the options, the entry
    that registered it; of a data set its channels and classes, of a metric its direction and unit."""
    tables = {"data_sets": DATA_SETS, "losses": LOSSES, "metrics": METRICS}
    return {part: {name: _describe(e) for name, e in sorted(table.items())} for part, table in tables.items()}


def from_entry(kind: str, name: str) -> dict[str, str]:
    """Return the entry of own code as ``{"from": entry}``; nothing for what is ours."""
    entry = origins(kind).get(name, "")
    return {"from": entry} if entry else {}


def with_docs(schema: dict[str, Any], docs: Mapping[str, str]) -> dict[str, Any]:
    """Return the schema of options with their descriptions."""
    for name, text in docs.items():
        schema["properties"][name]["description"] = text
    return schema


def _describe(extension: Extension) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    if isinstance(extension, DataSet):
        facts = {"channels": extension.channels, "classes": extension.classes}
    elif isinstance(extension, Metric):
        facts = {"direction": extension.direction, "unit": extension.unit}
    options = {} if isinstance(extension, Metric) else extension.options
    schema = options_schema(options, extension.hints, open_ended=False)
    return {
        "description": first_paragraph(extension.make),
        "options": with_docs(schema, mentioned(inspect.getdoc(extension.make) or "", options)),
        **facts,
        **from_entry(extension.kind, extension.name),
    }
