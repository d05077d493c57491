"""Axes and blocks to points: laws, and the cases that the study language promises."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from studies.engine.study.design import BASELINE, DesignPoint, baseline, expand, matches, patches
from studies.engine.study.parts import Axis, Block, Level, Part, Setting


def axis(name: str, labels: list[str], base: str, **only: tuple[str, ...]) -> Axis:
    levels = tuple(Level(label, (Setting(f"{name}.key", label, ()),)) for label in labels)
    return Axis(name, levels, base, only=only)


def part(*axes: Axis, design: list[Block], exclude: Any = ()) -> Part:
    return Part("p", axes={a.name: a for a in axes}, design=tuple(design), exclude=tuple(exclude))


def labels(found: Part) -> list[str]:
    return [point.label for point in expand(found)]


RECURSION = axis("recursion", ["1", "2", "3"], "2")
SLICES = axis("slices", ["none", "half", "paper"], "paper", recursion=("2", "3"))
ONE = Block("one_at_a_time", {"recursion": RECURSION.labels, "slices": SLICES.labels})
GRID = Block("grid", {"recursion": RECURSION.labels, "slices": SLICES.labels})


def test_one_at_a_time_leaves_all_but_one_axis_at_the_baseline() -> None:
    found = part(RECURSION, SLICES, design=[ONE])
    assert labels(found) == [BASELINE, "recursion=1", "recursion=3", "slices=none", "slices=half"]


def test_an_inert_axis_collapses_and_blocks_are_merged() -> None:
    found = part(RECURSION, SLICES, design=[ONE, GRID])
    points = {point.label: point for point in expand(found)}
    assert list(points) == [
        *labels(part(RECURSION, SLICES, design=[ONE])),
        "recursion=3 slices=none",
        "recursion=3 slices=half",
    ]
    assert points["recursion=1"] == DesignPoint(
        (("recursion", "1"), ("slices", None)), ("one_at_a_time", "grid"), "recursion=1"
    )
    assert points["recursion=3 slices=none"].blocks == ("grid",)
    assert points[BASELINE].is_baseline


def test_a_grid_of_subsets_and_explicit_arms() -> None:
    grid = Block("grid", {"recursion": ("3",), "slices": ("half", "paper")})
    arms = Block("arms", arms=({"recursion": "1"}, {"slices": "half", "recursion": "3"}, {}))
    assert labels(part(RECURSION, SLICES, design=[grid])) == [BASELINE, "recursion=3 slices=half", "recursion=3"]
    assert labels(part(RECURSION, SLICES, design=[arms])) == [BASELINE, "recursion=1", "recursion=3 slices=half"]


def test_excluded_points_go_and_the_baseline_stays_when_no_block_asks_for_it() -> None:
    found = part(RECURSION, SLICES, design=[GRID], exclude=[{"recursion": ("3",), "slices": ("none", "half")}])
    assert labels(found) == [BASELINE, "recursion=1", "slices=none", "slices=half", "recursion=3"]
    lone = part(RECURSION, SLICES, design=[])
    assert [(p.label, p.blocks) for p in expand(lone)] == [(BASELINE, ())]


def test_an_axis_behind_an_inert_axis_is_inert() -> None:
    deep = axis("deep", ["a", "b"], "a", slices=("half", "paper"))
    point = next(p for p in expand(part(deep, RECURSION, SLICES, design=[ONE])) if p.label == "recursion=1")
    assert dict(point.coords) == {"deep": None, "recursion": "1", "slices": None}


def test_inert_axes_stand_at_their_baseline_and_give_way_to_acting_ones() -> None:
    found = part(SLICES, RECURSION, design=[ONE])
    point = next(p for p in expand(found) if p.label == "recursion=1")
    assert [(s.key, s.value) for s in patches(found, point)] == [("slices.key", "paper"), ("recursion.key", "1")]


# ---- laws


@st.composite
def parts(draw: st.DrawFn) -> Part:
    """Up to four axes, each perhaps acting only at some levels of an earlier one, and up to three blocks."""
    axes: list[Axis] = []
    for i in range(draw(st.integers(1, 4))):
        names = [f"l{j}" for j in range(draw(st.integers(1, 3)))]
        only = {}
        if axes and draw(st.booleans()):
            other = draw(st.sampled_from(axes))
            only = {other.name: tuple(draw(st.lists(st.sampled_from(other.labels), min_size=1, unique=True)))}
        axes.append(axis(f"a{i}", names, draw(st.sampled_from(names)), **only))
    blocks = []
    for _ in range(draw(st.integers(0, 3))):
        chosen = draw(st.lists(st.sampled_from(axes), min_size=1, unique_by=lambda a: a.name))
        levels = {a.name: tuple(draw(st.lists(st.sampled_from(a.labels), min_size=1, unique=True))) for a in chosen}
        kind = draw(st.sampled_from(["one_at_a_time", "grid", "arms"]))
        if kind == "arms":
            blocks.append(Block("arms", arms=({name: some[0] for name, some in levels.items()},)))
        else:
            blocks.append(Block(kind, levels if kind == "grid" else {a.name: a.labels for a in chosen}))
    return part(*axes, design=blocks)


@given(parts())
def test_no_point_twice_and_the_baseline_exactly_once(found: Part) -> None:
    points = expand(found)
    assert len({p.coords for p in points}) == len(points)
    assert len({p.label for p in points}) == len(points)
    assert [p.coords for p in points if p.is_baseline] == [baseline(found)]


@given(parts(), st.randoms(use_true_random=False))
def test_the_order_of_keys_and_blocks_changes_nothing(found: Part, order: random.Random) -> None:
    def shuffled(items: Any) -> list[Any]:
        listed = list(items)
        order.shuffle(listed)
        return listed

    design = [replace(b, axes=dict(shuffled(b.axes.items()))) for b in shuffled(found.design)]
    other = replace(found, axes=dict(shuffled(found.axes.items())), design=tuple(design))

    def what(of: Part) -> set[Any]:
        return {(frozenset(p.coords), frozenset(p.blocks), p.is_baseline) for p in expand(of)}

    assert what(found) == what(other)


@given(parts())
def test_every_point_is_one_that_a_block_asks_for(found: Part) -> None:
    for point in expand(found):
        for name, level in point.coords:
            acts = all(dict(point.coords)[other] in some for other, some in found.axes[name].only.items())
            assert (level is not None) == acts
        assert point.is_baseline or point.blocks


@given(parts(), st.data())
def test_excluding_takes_exactly_what_matches(found: Part, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(list(found.axes)))
    entry = {name: tuple(data.draw(st.lists(st.sampled_from(found.axes[name].labels), min_size=1)))}
    left = {p.coords for p in expand(replace(found, exclude=(entry,)))}
    assert left == {p.coords for p in expand(found) if p.is_baseline or not matches(p.coords, entry)}
