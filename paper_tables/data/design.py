"""What a study declares in its frame's metadata, or what is inferred from the rows: parts, axes, arms, metrics."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import BeforeValidator, Field
from pydantic.dataclasses import dataclass as declared


def _text(value: Any) -> Any:
    return str(value).encode(errors="replace").decode() if isinstance(value, str | int | float) else value


Text = Annotated[str, BeforeValidator(_text)]
"""A number is a label too; half a surrogate pair, which JSON may have, is no text that can be written."""


@declared(frozen=True)
class Axis:
    """An axis of a part, levels in the study's order."""

    name: Text
    levels: tuple[Text, ...]
    label: Text | None = None
    baseline: Text | None = None


@declared(frozen=True)
class Part:
    """A part of the study; `baseline` is the label of its baseline arm, or None."""

    name: Text
    baseline: Text | None = None
    axes: tuple[Axis, ...] = ()

    def axis(self, name: str) -> Axis | None:
        return next((a for a in self.axes if a.name == name), None)


@declared(frozen=True)
class Metric:
    """A metric of the study; `source`: the epoch that it is taken from."""

    source: Annotated[Text | None, Field(validation_alias="from")] = None
    direction: Literal["max", "min", "none"] | None = None
    unit: Text | None = None


@declared(frozen=True)
class ChangedRule:
    """A claim's rule that was changed when its arms had `n` seeds already."""

    digest: str
    n: int


@declared(frozen=True)
class Decide:
    """Numbers of seeds at which the study looks at its claims, and the probability of a false verdict over all looks.

    rules: claim -> digest of its rule before the first trial; changed: claim -> its present rule, if that is another.
    """

    looks: tuple[int, ...]
    error: float = 0.05
    rules: dict[str, str] = field(default_factory=dict)
    changed: dict[str, ChangedRule] = field(default_factory=dict)


@declared(frozen=True)
class Metadata:
    """What the study says of itself."""

    study: Text | None = None
    title: Text | None = None
    label: Text | None = None
    scale: Text | None = None
    study_text: Text | None = None
    metrics: dict[str, Metric | None] = field(default_factory=dict)
    parts: tuple[Part, ...] = ()
    decide: Decide | None = None
    overrides: tuple[Text, ...] = ()
    """Settings of this run that the study file has not: ``train.epochs=20``."""

    def metric(self, name: str) -> Metric:
        return self.metrics.get(name) or Metric()


@dataclass(frozen=True)
class Arm:
    """One setting of a part's axes with all its trials; `coords` lacks the axes that are inert in it."""

    part: str
    label: str
    baseline: bool
    coords: dict[str, str]
    rows: tuple[int, ...] = field(repr=False)

    def axes_differing_from(self, other: Arm) -> list[str]:
        """Return the axes in which this arm has another level than `other`; inert axes are ignored."""
        return [axis for axis, level in self.coords.items() if other.coords.get(axis) != level]


def from_rows(name: Any, rows: pd.DataFrame) -> Part:
    """Return the part as inferred from its rows."""
    first = rows.loc[rows["baseline"]]
    axes = []
    for column in (c for c in map(str, rows.columns) if c.startswith("axis.") and (rows[c] != "").any()):
        levels = tuple(v for v in rows[column].unique() if v != "")
        mine = first[column].iloc[0] if len(first) else ""
        axes.append(Axis(name=column.removeprefix("axis."), levels=levels, baseline=mine or None))
    return Part(name=str(name), baseline=str(first["arm"].iloc[0]) if len(first) else None, axes=tuple(axes))
