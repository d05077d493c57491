"""What tables, figures and claims share in a table file: names, filters, non-empty lists, no unknown keys."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$", max_length=100)]
Flag = Annotated[bool, Strict()]
Whole = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
"""Read as they are written: `true` is no number, nor is "1"."""


def _label(value: Any) -> Any:
    """Levels are labels: `true` and 0.5 in YAML mean the strings."""
    return str(value).lower() if isinstance(value, bool) else str(value) if isinstance(value, int | float) else value


def _labels(value: Any) -> Any:
    return [_label(v) for v in value] if isinstance(value, list) else [_label(value)]


_Level = str | int | float | bool
LevelNames = Annotated[tuple[str, ...], BeforeValidator(_labels, json_schema_input_type=_Level | list[_Level])]
Filter = dict[str, LevelNames]
"""`part` or an axis -> the levels that are kept."""


class Reference(Enum):
    """What a string field names in the results; ``validate/table_file.py`` checks it."""

    METRIC = "metric"
    AXIS = "axis"


MetricRef = Annotated[str, Reference.METRIC]
AxisRef = Annotated[str, Reference.AXIS]


class Entry(BaseModel):
    """Base of all entries of a table file; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def non_empty(found: tuple[Any, ...]) -> tuple[Any, ...]:
    """Validate after the items, so that a wrong item is not also reported as missing."""
    if not found:
        raise ValueError("needs at least one entry")
    return found
