"""Which axes of a part act in an arm: not those whose options the arm's model or reducer does not have."""

from __future__ import annotations

from studies.engine.study.design import BASELINE, Coords, DesignPoint, complete, expand, label, patches
from studies.engine.study.parts import Part, Patch
from studies.engine.study.resolver import Resolver


def points(part: Part, resolver: Resolver, over: Patch = ()) -> tuple[DesignPoint, ...]:
    """Return the points of the design; over: settings above the axes'.

    An axis is inert where the model or the reducer has none of the options that it sets, as if by `only`, and points
    that differ in it alone are one. An axis that would act nowhere is left as it is: its options are then reported.
    """
    found = expand(part)
    lacking = [lacks(part, point.coords, resolver, over) for point in found]
    acting = {
        name
        for point, without in zip(found, lacking, strict=True)
        for name, level in point.coords
        if level is not None and name not in without
    }
    if not any(without & acting for without in lacking):
        return found
    merged: dict[Coords, DesignPoint] = {}
    for point, without in zip(found, lacking, strict=True):
        choice = {name: level for name, level in point.coords if level is not None}
        coords = complete(part.axes, choice, without & acting)
        same = merged.get(coords)
        blocks = (*(same.blocks if same else ()), *point.blocks)
        name = BASELINE if not merged or (same and same.is_baseline) else label(part.axes, coords)
        merged[coords] = DesignPoint(coords, tuple(dict.fromkeys(blocks)), name)
    return tuple(merged.values())


def lacks(part: Part, coords: Coords, resolver: Resolver, over: Patch = ()) -> frozenset[str]:
    """Return the axes with a level in `coords` that set, at all levels, only options which the model or reducer there
    does not have."""
    acting = [name for name, level in coords if level is not None]
    levels = {name: tuple(s for level in part.axes[name].levels for s in level.patch) for name in acting}
    optional = {name: found for name, found in levels.items() if found and resolver.options_only(found)}
    if not optional:
        return frozenset()
    names = resolver.names((*part.base, *patches(part, DesignPoint(coords, (), "")), *over))
    return frozenset(n for n, found in optional.items() if not any(resolver.takes(s, names) for s in found))


def settings(part: Part, point: DesignPoint, resolver: Resolver, over: Patch = ()) -> Patch:
    """Return all settings of a point: those of inert axes, which are at their baselines, only where they mean
    something."""
    inert = [part.axes[name].level(part.axes[name].baseline).patch for name, level in point.coords if level is None]
    meaningless = {setting for patch in inert for setting in patch if resolver.options_only((setting,))}
    every = (*part.base, *patches(part, point), *over)
    if not meaningless:
        return every
    names = resolver.names(every)
    return tuple(s for s in every if s not in meaningless or resolver.takes(s, names))


def without_option(coords: Coords, part: Part) -> list[str]:
    """Return the axes that are inert in an arm though their `only` holds: for want of an option."""
    levels = dict(coords)
    return [
        name
        for name, level in coords
        if level is None and all(levels[other] in labels for other, labels in part.axes[name].only.items())
    ]
