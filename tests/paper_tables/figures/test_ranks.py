"""Mean ranks within seeds, and points joined by the levels of an axis."""

from __future__ import annotations

import pytest
import synthetic_frame

from paper_tables import table_file
from paper_tables.data.load import load_frame
from paper_tables.figures import ranks, scatter, style
from paper_tables.schema.figures import Ranks, Scatter
from paper_tables.schema.table_file import read_table_file
from paper_tables.tables.grid import NoData
from paper_tables.tables.labels import Names

GRID = {"part": ["sret"], "recursion": ["2", "3"]}
SPEC = Ranks(name="ranks", kind="ranks", filter=GRID, y="top1", of="slices", over="recursion")


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Names:
    path = table_file("redundancy_ablation")
    assert path is not None
    return Names(read_table_file(path)[0], load_frame(synthetic_frame.study(tmp_path_factory.mktemp("f"))))


def test_ranks_are_means_over_the_other_axis_for_each_seed(names: Names) -> None:
    trials, _ = synthetic_frame.frames()
    grid = trials[(trials["part"] == "sret") & trials["axis.recursion"].isin(["2", "3"])]
    table = grid.pivot(index=["seed", "axis.recursion"], columns="axis.slices", values="metric.top1")
    expected = table.rank(axis=1, ascending=False).groupby("seed").mean()
    arms = {(a.coords["slices"], a.coords["recursion"]): a for a in names.frame.arms if "slices" in a.coords}
    found = ranks.mean_ranks(names, arms, list(expected), ["2", "3"], "top1")
    assert {level: pytest.approx(list(expected[level])) for level in expected} == found
    assert ranks.mean_ranks(names, {}, ["half"], ["2"], "top1") == {}
    with style.apply_style():
        figure, text = ranks.draw(SPEC, names)
    best = expected.mean().idxmin()
    assert figure.axes[0].get_yticklabels()[0].get_text() == best and best in text


def test_without_a_whole_block_there_is_no_rank(names: Names) -> None:
    with style.apply_style(), pytest.raises(NoData, match="no seed with top1 at every level of slices and capacity"):
        ranks.draw(SPEC.model_copy(update={"over": "capacity"}), names)


def test_points_of_a_level_are_joined_in_the_order_of_cost(names: Names) -> None:
    spec = Scatter(name="s", kind="scatter", filter={"part": ["sret"]}, x="gflops", y="top1", color="slices", join=True)
    with style.apply_style():
        figure, _ = scatter.draw(spec, names)
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) > 1]
    levels = {arm.coords["slices"] for arm in names.frame.arms if "slices" in arm.coords}
    assert len(lines) == len(levels) and all(list(line.get_xdata()) == sorted(line.get_xdata()) for line in lines)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[-1] == "filled: baseline" and len(labels) > len(levels)


def test_a_figure_of_points_alone_is_as_it_was(names: Names) -> None:
    spec = Scatter(name="s", kind="scatter", x="gflops", y="top1")
    with style.apply_style():
        figure, _ = scatter.draw(spec, names)
    assert figure.legends[0].get_texts()[0].get_text() == "SReT"
    assert not [line for line in figure.axes[0].lines if len(line.get_xdata()) > 1]
