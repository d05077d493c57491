"""Figures: what they show is what the tables say; the front is a front; missing data leave a figure out."""

from __future__ import annotations

from pathlib import Path

import pytest
import synthetic_frame
from hypothesis import given
from hypothesis import strategies as some

from paper_tables import draw_forest, draw_scatter, figures, listing, table_file
from paper_tables.drawing import Forest
from paper_tables.frame import Arm
from paper_tables.grid import Nothing
from paper_tables.names import Names
from paper_tables.reading import load
from paper_tables.spec import read
from paper_tables.stats import Summary


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Names:
    path = table_file("redundancy_ablation")
    assert path is not None
    return Names(read(path)[0], load(synthetic_frame.study(tmp_path_factory.mktemp("f"))))


def test_the_forest_is_the_table(names: Names) -> None:
    spec = next(f for f in names.spec.figures if isinstance(f, Forest))
    table = next(t for t in names.spec.tables if t.name == "redundancy")
    grid = listing.build(table, names)
    cells = [row.cells[4] for row in grid.rows if row.cells[4].text != "ref."]
    effects = draw_forest.effects(spec, names)
    assert [e.result.mean for e in effects] == [c.value for c in cells]
    assert [e.result.half for e in effects] == [c.spread for c in cells]
    assert [e.holm for e in effects] == [c.holm for c in cells]


Numbers = some.lists(some.tuples(some.integers(0, 9), some.integers(0, 9)), min_size=1, max_size=12)


@given(Numbers)
def test_the_front_is_what_nothing_beats(numbers: list[tuple[int, int]]) -> None:
    arm = Arm("p", "a", False, {}, ())
    points = [draw_scatter.Point(arm, Summary(1, x, None, None), Summary(1, y, None, None)) for x, y in numbers]
    best = {(p.x.mean, p.y.mean) for p in draw_scatter.front(points, "min", "max")}
    beaten = {
        (x, y) for x, y in numbers if any(a <= x and b >= y and (a, b) != (x, y) for a, b in numbers)
    }  # fmt: skip
    assert best == set(numbers) - beaten


def test_every_kind_has_three_files_and_words(names: Names) -> None:
    for spec in names.spec.figures:
        picture = figures.draw(spec, names)
        assert set(picture.files) == {"pdf", "svg", "png"}
        assert picture.files["svg"].rstrip().endswith(b"git 4f2a9c1d0be7 -->")
        assert b"CreationDate" not in picture.files["pdf"]
        assert b"frame " in picture.files["png"][:2000]
        assert "nan" not in picture.words


def test_without_data_there_is_no_figure(names: Names, tmp_path: Path) -> None:
    trials, _ = synthetic_frame.frames()
    trials["metric.top1"] = float("nan")
    bare = Names(names.spec, load(synthetic_frame.write(tmp_path, trials, None, synthetic_frame.about())))
    for spec in names.spec.figures:
        with pytest.raises(Nothing):
            figures.draw(spec, bare)


def test_the_callers_style_is_left_alone(names: Names) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    figures.draw(names.spec.figures[0], names)
    assert dict(matplotlib.rcParams) == before
