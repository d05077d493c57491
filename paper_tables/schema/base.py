"""What tables, figures and claims share in a table file: names, filters, non-empty lists, no unknown keys."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]


def _label(value: Any) -> Any:
    """Levels are labels: `true` and 0.5 in YAML mean the words."""
    return str(value).lower() if isinstance(value, bool) else str(value) if isinstance(value, int | float) else value


def _labels(value: Any) -> Any:
    return [_label(v) for v in value] if isinstance(value, list) else [_label(value)]


LevelNames = Annotated[tuple[str, ...], BeforeValidator(_labels)]
Filter = dict[str, LevelNames]
"""`part` or an axis -> the labels that pass."""


class Entry(BaseModel):
    """Unknown keys are faults."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def non_empty(found: tuple[Any, ...]) -> tuple[Any, ...]:
    """Checked after the items, so that a wrong item is not also called a missing one."""
    if not found:
        raise ValueError("needs at least one entry")
    return found
