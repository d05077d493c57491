"""Figures: what they show is what the tables say; the front is a front; missing data leave a figure out."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
import synthetic_frame
from hypothesis import given
from hypothesis import strategies as st

from paper_tables import table_file
from paper_tables.core.statistics import Summary
from paper_tables.data.frame import Arm
from paper_tables.data.load import load_frame
from paper_tables.data.other_studies import StudyFrames
from paper_tables.figures import curves as draw_curves
from paper_tables.figures import dots as draw_dots
from paper_tables.figures import draw, forest, line, scatter, style
from paper_tables.figures.line import positions
from paper_tables.figures.series import ends
from paper_tables.schema.figures import Curves, Dots, Forest, Line
from paper_tables.schema.table_file import read_table_file
from paper_tables.site.default_spec import default_spec
from paper_tables.tables.grid import NoData
from paper_tables.tables.holm_family import HolmFamily, cells_of
from paper_tables.tables.labels import Names
from paper_tables.tables.table import build


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Names:
    path = table_file("redundancy_ablation")
    assert path is not None
    return Names(read_table_file(path)[0], load_frame(synthetic_frame.study(tmp_path_factory.mktemp("f"))))


def test_the_forest_is_the_table(names: Names) -> None:
    spec = next(f for f in names.spec.figures if isinstance(f, Forest))
    table = next(t for t in names.spec.tables if t.name == "redundancy")
    grid = build(table, names, StudyFrames(Path(), names.frame))
    cells = [row.cells[4] for row in grid.rows if row.cells[4].text != "ref."]
    effects = forest.effects(spec, names)
    assert [e.result.mean for e in effects] == [c.value for c in cells]
    assert [e.result.half_width for e in effects] == [c.spread for c in cells]


def test_a_difference_in_a_table_and_in_a_figure_is_one_test_of_one_family(names: Names) -> None:
    """The study's family holds every difference once, so a star and a filled point say the same."""
    grids = [build(table, names, StudyFrames(Path(), names.frame)) for table in names.spec.tables]
    spec = next(f for f in names.spec.figures if isinstance(f, Forest))
    effects = [effect.cell for effect in forest.effects(spec, names)]
    family = HolmFamily([*cells_of(grids), *effects])
    assert family.sizes["t"] == HolmFamily(cells_of(grids)).sizes["t"]
    alone = HolmFamily(effects)
    assert family.sizes["t"] > alone.sizes["t"] > 10
    for grid in grids:
        family.mark(grid)
    in_tables = {cell.tested: cell.holm for cell in cells_of(grids) if cell.p is not None}
    tested = [cell for cell in effects if cell.p is not None]
    assert [family.adjusted(cell) for cell in tested] == [in_tables[cell.tested] for cell in tested]
    smallest = min(tested, key=lambda cell: cell.p or 1.0)
    assert (family.adjusted(smallest) or 0.0) > (alone.adjusted(smallest) or 0.0)


def test_one_level_is_no_line(names: Names) -> None:
    """As at a scale that runs a part of the arms."""
    spec = next(f for f in names.spec.figures if isinstance(f, Line))
    with style.apply_style():
        line.draw(spec, names)
        arm = next(arm for arm in names.frame.arms if spec.x in arm.coords and names.frame.values(arm, spec.y))
        alone = spec.model_copy(update={"filter": {**spec.filter, spec.x: arm.coords[spec.x]}, "color": None})
        with pytest.raises(NoData, match=f"one level of {spec.x} alone was run, {arm.coords[spec.x]}"):
            line.draw(alone, names)


def test_curves_of_one_level_compare_nothing(names: Names, tmp_path: Path) -> None:
    """Unless the file asks for that level alone."""
    spec = next(f for f in names.spec.figures if isinstance(f, Curves) and f.panels[0].color == "stabilizer")
    trials, curves = synthetic_frame.frames()
    kept = trials[~trials.arm.str.contains("stabilizer=off")]
    without = Names(names.spec, load_frame(synthetic_frame.write(tmp_path, kept, curves, synthetic_frame.about())))
    with style.apply_style():
        draw_curves.draw(spec, names)
        with pytest.raises(NoData, match="one level of stabilizer alone was run, dw_pre: nothing is compared"):
            draw_curves.draw(spec, without)
        draw_curves.draw(spec.model_copy(update={"filter": {**spec.filter, "stabilizer": ("dw_pre",)}}), without)


@given(st.lists(st.floats(0, 100), min_size=3, max_size=20))
def test_error_bars_of_percentages_stay_between_0_and_100(values: list[float]) -> None:
    low, high = ends(values, "t95", "%")
    mean = sum(values) / len(values)
    assert 0 <= low <= mean + 1e-9
    assert mean - 1e-9 <= high <= 100


def test_error_bars_of_other_units_are_the_t_interval() -> None:
    low, high = ends([1.0, 2.0, 3.0], "t95", "")
    assert (low, high) == pytest.approx((2 - 2.484, 2 + 2.484), abs=1e-3)
    assert ends([99.0, 100.0], "t95", "%") == (99.5, 99.5)


def test_a_collapsed_arm_does_not_flatten_the_others() -> None:
    others = [90.0, 91.0, 92.0, 93.0, 94.0, 95.0, 96.0]
    assert scatter.far_below([30.0, *others]) == 90.0
    assert scatter.far_below([88.0, *others]) == 88.0
    assert scatter.far_below([10.0, 20.0, 30.0]) == 10.0


@pytest.mark.parametrize("odd", ["inf", "nan", "-inf", "1e999", "none"])
def test_levels_that_have_no_place_on_an_axis_of_numbers(odd: str) -> None:
    assert positions(["0.5", "2"]) == [0.5, 2.0]
    assert positions(["0.5", odd, "2"]) == [0.0, 1.0, 2.0]


Numbers = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12)


@given(Numbers)
def test_the_front_is_what_nothing_beats(numbers: list[tuple[int, int]]) -> None:
    arm = Arm("p", "a", False, {}, ())
    points = [scatter.Point(arm, Summary(1, x, None, None), Summary(1, y, None, None), (y, y)) for x, y in numbers]
    best = {(p.x.mean, p.y.mean) for p in scatter.front(points, "min", "max")}
    beaten = {
        (x, y) for x, y in numbers if any(a <= x and b >= y and (a, b) != (x, y) for a, b in numbers)
    }  # fmt: skip
    assert best == set(numbers) - beaten


def test_numbers_stand_off_the_marks_and_off_each_other() -> None:
    arm, places = Arm("p", "a", False, {}, ()), [(5.0, 5.0), (5.1, 5.0), (5.0, 5.2), (5.1, 5.2), (9.99, 9.99)]
    points = [scatter.Point(arm, Summary(1, x, None, None), Summary(1, y, None, None), (y, y)) for x, y in places]
    with style.apply_style():
        figure, (ax,) = style.subplots("two", 3.4)
        ax.set(xlim=(0, 10), ylim=(0, 10))
        scatter.number(ax, points, points, ["#000000"] * len(points))
        figure.draw_without_rendering()
        boxes = [text.get_window_extent() for text in ax.texts]
    assert [text.get_text() for text in ax.texts] == ["1", "2", "3", "4", "5"]
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    marks = [ax.transData.transform(place) for place in places]
    assert not any(box.contains(*mark) for box in boxes for mark in marks)
    assert all(ax.bbox.contains(*corner) for box in boxes for corner in box.corners())


def test_every_kind_has_three_files_and_words(names: Names) -> None:
    for spec in names.spec.figures:
        picture = draw.draw(spec, names)
        assert set(picture.files) == {"pdf", "svg", "png"}
        assert picture.files["svg"].rstrip().endswith(b"git 4f2a9c1d0be7 -->")
        assert b"CreationDate" not in picture.files["pdf"]
        assert b"frame " in picture.files["png"][:2000]
        assert "nan" not in picture.alt_text


def test_without_data_there_is_no_figure(names: Names, tmp_path: Path) -> None:
    trials, _ = synthetic_frame.frames()
    trials["metric.top1"] = float("nan")
    bare = Names(names.spec, load_frame(synthetic_frame.write(tmp_path, trials, None, synthetic_frame.about())))
    for spec in names.spec.figures:
        with pytest.raises(NoData):
            draw.draw(spec, bare)


def test_the_callers_style_is_left_alone(names: Names) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    draw.draw(names.spec.figures[0], names)
    assert dict(matplotlib.rcParams) == before


def curved(tmp_path: Path, ends: dict[str, list[float]]) -> Names:
    """A frame whose parts learn up to other accuracies; every arm of a part ends at one of the part's values."""
    trials, curves = synthetic_frame.frames()
    part = dict(zip(trials["trial"], trials["part"], strict=True))
    top1 = curves["metric"] == "val.top1"
    for name, values in ends.items():
        mine = top1 & (curves["trial"].map(part) == name)
        place = curves.loc[mine, "trial"].factorize()[0] % len(values)
        risen = 1 - 0.5 ** curves.loc[mine, "step"]
        curves.loc[mine, "value"] = risen * [values[i] for i in place]
    loaded = load_frame(synthetic_frame.write(tmp_path, trials, curves, synthetic_frame.about()))
    return Names(default_spec(loaded), loaded)


def test_no_curve_ends_outside_of_its_panel(tmp_path: Path) -> None:
    """One part's curves lie together at the top, another's far apart: each panel shows its own."""
    names = curved(tmp_path, {"sret": [98.0, 98.4], "mor_vit": [40.0, 90.0], "tpc_vit": [97.0, 97.5]})
    spec = next(f for f in names.spec.figures if isinstance(f, Curves))
    with style.apply_style():
        figure, _ = draw_curves.draw(spec, names)
        axes = figure.axes
        assert len(axes) == 3
        for ax in axes:
            low, high = ax.get_ylim()
            ends = [float(line.get_ydata()[-1]) for line in ax.get_lines()]  # type: ignore[index]
            assert all(low < end < high for end in ends)
        assert axes[0].get_ylim() != axes[1].get_ylim()


def test_a_part_of_many_lines_has_a_figure_of_its_own(names: Names) -> None:
    few = [f for f in default_spec(names.frame).figures if isinstance(f, Curves)]
    assert [f.name for f in few] == ["training"]
    wider = replace(names.frame)  # its cached parts are its own
    parts = [replace(p, axes=(replace(p.axes[0], levels=tuple("abcdefgh")), *p.axes[1:])) for p in names.frame.parts]
    wider.__dict__["parts"] = parts
    many = [f for f in default_spec(wider).figures if isinstance(f, Curves)]
    assert [(f.name, len(f.panels)) for f in many] == [("training", 1), ("training_2", 1), ("training_3", 1)]


def test_percentages_end_at_a_hundred() -> None:
    assert style.clip_to_percent(-20.0, 130.0, "%") == (0.0, 100.0)
    assert style.clip_to_percent(90.0, 97.0, "%") == (90.0, 97.0)
    assert style.clip_to_percent(-20.0, 130.0, "") == (-20.0, 130.0)
    assert style.clip_to_percent(-20.0, 130.0, "%", [50.0]) == (0.0, 100.0)
    assert style.clip_to_percent(110.0, 150.0, "%", [120.0, 140.0]) == (110.0, 140.0)  # a cost in per cent of another
    assert style.clip_to_percent(-9.0, -1.0, "%", [-8.0, -2.0]) == (-8.0, -1.0)


@pytest.mark.parametrize("end", [math.nan, math.inf])
def test_a_part_that_has_diverged_has_no_panel(tmp_path: Path, end: float) -> None:
    names = curved(tmp_path, {"sret": [end], "mor_vit": [40.0, 90.0]})
    spec = next(f for f in names.spec.figures if isinstance(f, Curves))
    with style.apply_style():
        assert len(draw_curves.draw(spec, names)[0].axes) == 2


def test_costs_above_a_hundred_per_cent_are_seen(tmp_path: Path) -> None:
    trials, curves = synthetic_frame.frames()
    trials["metric.top1"] += 100
    curves.loc[curves["metric"] == "val.top1", "value"] += 100
    found = load_frame(synthetic_frame.write(tmp_path, trials, curves, synthetic_frame.about()))
    names = Names(default_spec(found), found)
    with style.apply_style():
        dots, _ = draw_dots.draw(next(f for f in names.spec.figures if isinstance(f, Dots)), names)
        lines, _ = draw_curves.draw(next(f for f in names.spec.figures if isinstance(f, Curves)), names)
        low, high = dots.axes[0].get_xlim()
        assert low < trials["metric.top1"].min() <= trials["metric.top1"].max() <= high
        for low, high in (ax.get_ylim() for ax in lines.axes):
            assert low < high
