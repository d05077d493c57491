"""Which arms a table or figure shows."""

from __future__ import annotations

from collections.abc import Iterable

from paper_tables.data.frame import Arm, Frame
from paper_tables.data.other_studies import CONTROL, is_control
from paper_tables.schema.base import Filter
from paper_tables.schema.tables import ArmRows


def filter_arms(frame: Frame, chosen: Filter, inert: bool = False) -> list[Arm]:
    """Return the arms that match the filter; with `inert` also those in which a filtered axis is inert."""

    def passes(arm: Arm) -> bool:
        where = {"part": arm.part, **arm.coords}
        if CONTROL not in chosen and is_control(frame, arm):
            return False
        return all(where[key] in labels if key in where else inert for key, labels in chosen.items())

    return [arm for arm in frame.arms if passes(arm)]


def listed_arms(frame: Frame, chosen: Filter, rows: ArmRows) -> list[Arm]:
    """Return the arms of a list: parts in order, baselines first, then by axis and level."""
    arms = filter_arms(frame, chosen)
    if rows.arms == "baseline":
        return [arm for arm in arms if arm.baseline]
    if rows.block == "one_at_a_time":
        arms = [arm for arm in arms if varied_axis(frame, arm) is not None]
        arms = sorted(arms, key=lambda arm: _place(frame, arm))
    return [arm for arm in arms if rows.baseline == "first" or not arm.baseline]


def varied_axis(frame: Frame, arm: Arm) -> str | None:
    """Return the one axis in which the arm differs from its baseline; "" for the baseline, None for several axes."""
    base = frame.baseline(arm.part)
    if base is None:
        return None
    differing = arm.axes_differing_from(base)
    return None if len(differing) > 1 else "".join(differing)


def _place(frame: Frame, arm: Arm) -> tuple[int, int, int]:
    """Return the places of part, axis and level in the study's order; axes that are not declared come first."""
    parts = [part.name for part in frame.parts]
    axes, name = list(frame.parts[parts.index(arm.part)].axes), varied_axis(frame, arm) or ""
    at = next((i for i, axis in enumerate(axes) if axis.name == name), -1)
    levels = axes[at].levels if at >= 0 else ()
    level = arm.coords.get(name, "")
    return parts.index(arm.part), at, levels.index(level) if level in levels else len(levels)


def crossed_arms(frame: Frame, chosen: Filter, axes: Iterable[str], inert: bool = True) -> list[Arm]:
    """Return the arms that match the filter and differ from their part's baseline in its and the given axes only."""
    free = {*axes, *chosen}

    def passes(arm: Arm) -> bool:
        base = frame.baseline(arm.part)
        return base is None or free.issuperset(arm.axes_differing_from(base))

    return [arm for arm in filter_arms(frame, chosen, inert) if passes(arm)]


def levels(frame: Frame, arms: Iterable[Arm], axis: str, chosen: Filter) -> list[str]:
    """Return the levels of an axis that occur in the arms, in the study's order."""
    taken = [arm.coords[axis] for arm in arms if axis in arm.coords]
    order = [level for part in frame.parts for a in part.axes if a.name == axis for level in a.levels]
    found = [level for level in dict.fromkeys([*order, *taken]) if level in taken]
    return [level for level in found if axis not in chosen or level in chosen[axis]]
