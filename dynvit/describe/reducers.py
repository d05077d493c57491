"""Token reducers as JSON: what each is, and the schema of its options."""

from __future__ import annotations

import inspect
from typing import Any, get_type_hints

from dynvit.describe.docs import first_paragraph
from dynvit.describe.extensions import from_entry
from dynvit.describe.json_schema import dataclass_schema, options_schema
from dynvit.reducers import reduce
from dynvit.reduction.reducer import REDUCERS

NOT_OPTIONS = ("model", "method", "options")
"""Arguments of `dynvit.reduce` that are not options of every method."""


def describe_reducers() -> dict[str, Any]:
    """Return by name a reducer's description, whether it needs no training, and the schema of its options."""
    common = {k: p for k, p in inspect.signature(reduce).parameters.items() if k not in NOT_OPTIONS}
    shared = options_schema(common, get_type_hints(reduce), open_ended=False)["properties"]
    return {name: _describe(cls, shared) for name, cls in sorted(REDUCERS.items())}


def _describe(cls: type[Any], shared: dict[str, Any]) -> dict[str, Any]:
    schema = dataclass_schema(cls)
    return {
        "description": first_paragraph(cls),
        "training_free": cls.training_free,
        "options": {**schema, "properties": {**schema["properties"], **shared}},
        **from_entry("reducer", cls.name),
    }
