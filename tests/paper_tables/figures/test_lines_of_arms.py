"""A line is of the arm that its label names, and no interval of a percentage ends beyond 100."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import synthetic_frame

from paper_tables.data.load import load_frame
from paper_tables.figures import heatmap, lags, line, metrics, series, style
from paper_tables.schema.figures import Heatmap, Lags, Line, Metrics, Panel
from paper_tables.schema.table_file import Spec
from paper_tables.tables.labels import Names

PAIR = "returned.layer00.layer01"
LEVELS = {"a": 10.0, "b": 20.0}


@pytest.fixture
def names(tmp_path: Path) -> Names:
    """Two parts of one axis; accuracies and a metric of a pair of layers that tell the arms apart."""
    rows: list[dict[str, Any]] = []
    for part, high in (("p", 0.0), ("q", 50.0)):
        for level, value in LEVELS.items():
            rows += [
                {"study": "s", "part": part, "trial": f"{part}{level}{seed}", "arm": level, "baseline": level == "a",
                 "seed": seed, "status": "done", "axis.k": level, "metric.top1": high + value + seed}
                for seed in range(3)
            ]  # fmt: skip
    curves = [{"trial": r["trial"], "step": 1, "metric": PAIR, "value": r["metric.top1"]} for r in rows]
    axis = {"name": "k", "levels": ["a", "b"], "baseline": "a"}
    parts = [{"name": part, "baseline": "a", "axes": [axis]} for part in ("p", "q")]
    meta = {"study": "s", "parts": parts, "metrics": {"top1": {"direction": "max", "unit": "%"}}}
    folder = synthetic_frame.write(tmp_path / "s", pd.DataFrame(rows), pd.DataFrame(curves), meta)
    return Names(Spec(study="s"), load_frame(folder))


def test_a_line_along_an_axis_is_of_one_part(names: Names) -> None:
    """Without a color it went to and fro between the parts."""
    with style.apply_style():
        figure, text = line.draw(Line(name="l", kind="line", x="k", y="top1"), names)
    drawn = {bars.get_label(): list(bars[0].get_ydata()) for bars in figure.axes[0].containers}
    assert drawn == {"p": [11.0, 21.0], "q": [61.0, 71.0]}
    assert "p: a: 11.00, b: 21.00; q: a: 61.00, b: 71.00" in text


def test_without_a_color_each_arm_has_its_line(names: Names) -> None:
    """All arms were one mean line with the first one's name."""

    def points(arms: list[Any]) -> pd.DataFrame:
        return pd.concat([names.frame.curve(arm, PAIR) for arm in arms]).rename(columns={"step": "x"})

    found = series.tracks(names, names.frame.arms, None, points, "t95", "")
    assert found is not None
    assert {one.label: one.mean for one in found} == {
        "p: k a (baseline)": [11.0], "p: k b": [21.0], "q: k a (baseline)": [61.0], "q: k b": [71.0],
    }  # fmt: skip
    (alone,) = series.tracks(names, names.frame.arms[:1], None, points, "t95", "") or []
    assert alone.label == "k a (baseline)"


def test_pairs_of_layers_are_of_the_arms_that_the_figure_names(names: Names) -> None:
    """An axis that neither the filter nor the colors name is at its baseline, as in all figures of curves."""
    common = {"name": "f", "metric": "returned", "filter": {"part": "p"}}
    with style.apply_style():
        _, text = lags.draw(Lags(kind="lags", panels=(Panel(),), **common), names)
        _, of_part = lags.draw(Lags(kind="lags", panels=(Panel(color="part"),), **common), names)
        _, values = heatmap.draw(Heatmap(kind="heatmap", panels=(Panel(),), center=0.0, **common), names)
    assert "from 11.00 at distance 1" in text and "from 11.00 at distance 1" in of_part
    assert "11.00 to 11.00" in values


def test_a_small_negative_number_in_a_cell_is_zero() -> None:
    assert [heatmap._short(value) for value in (-0.001, 0.001, -0.125, 1.0)] == [".00", ".00", "−.12", "1.0"]


def test_intervals_of_percentages_end_at_100(names: Names) -> None:
    names.frame.rows.loc[names.frame.rows["arm"] == "b", "metric.top1"] = [90.0, 99.0, 100.0] * 2
    spec = {"name": "m", "kind": "metrics", "label": "accuracy", "panels": [{"metrics": {"top1": "first"}}]}
    with style.apply_style():
        figure, _ = metrics.draw(Metrics.model_validate(spec), names)
    ends = [x for lines in figure.axes[0].collections for path in lines.get_paths() for x, _ in path.vertices]
    assert 99.0 < max(ends) <= 100.0
