"""Parts, axes and arms of a study, as declared in a frame or inferred from its rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class Axis:
    """An axis of a part, levels in the study's order."""

    name: str
    label: str
    levels: tuple[str, ...]
    baseline: str | None


@dataclass(frozen=True)
class Part:
    """A part of the study; `baseline` is the label of its baseline arm, or None."""

    name: str
    baseline: str | None
    axes: tuple[Axis, ...]

    def axis(self, name: str) -> Axis | None:
        return next((a for a in self.axes if a.name == name), None)


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


def from_metadata(part: dict[str, Any]) -> Part:
    """Return the part as the study declares it."""
    axes = tuple(
        Axis(
            str(a["name"]),
            str(a.get("label") or a["name"]),
            tuple(str(v) for v in a["levels"]),
            None if a.get("baseline") is None else str(a["baseline"]),
        )
        for a in part.get("axes", [])
    )
    return Part(str(part["name"]), part.get("baseline"), axes)


def from_rows(name: Any, rows: pd.DataFrame) -> Part:
    """Return the part as inferred from its rows."""
    first = rows.loc[rows["baseline"]]
    axes = []
    for column in (c for c in map(str, rows.columns) if c.startswith("axis.") and (rows[c] != "").any()):
        levels = tuple(v for v in rows[column].unique() if v != "")
        mine = first[column].iloc[0] if len(first) else ""
        axes.append(Axis(column.removeprefix("axis."), column.removeprefix("axis."), levels, mine or None))
    return Part(str(name), str(first["arm"].iloc[0]) if len(first) else None, tuple(axes))
