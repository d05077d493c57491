"""Several metrics of every arm: a mark where there is a value, no panel where there is none."""

from __future__ import annotations

import pytest
import synthetic_frame

from paper_tables import table_file
from paper_tables.data.load import load_frame
from paper_tables.figures import metrics, style
from paper_tables.schema.figures import Metrics
from paper_tables.schema.table_file import read_table_file
from paper_tables.tables.grid import NoData
from paper_tables.tables.labels import Names
from paper_tables.tables.select_arms import filter_arms

SPEC = Metrics.model_validate(
    {
        "name": "m",
        "kind": "metrics",
        "label": "accuracy",
        "filter": {"part": ["sret"]},
        "line": 50,
        "panels": [
            {"title": "A", "metrics": {"top1": "first", "active_share": "active", "unknown": "nowhere"}},
            {"title": "B", "metrics": {"unknown": "absent"}},
        ],
    }
)


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Names:
    path = table_file("redundancy_ablation")
    assert path is not None
    return Names(read_table_file(path)[0], load_frame(synthetic_frame.study(tmp_path_factory.mktemp("f"))))


def test_a_mark_per_arm_and_metric_and_no_empty_panel(names: Names) -> None:
    with style.apply_style():
        figure, text = metrics.draw(SPEC, names)
    (ax,) = figure.axes
    arms = filter_arms(names.frame, SPEC.filter)
    assert len(arms) > 4
    assert [label.get_text() for label in ax.get_yticklabels()] == [names.arm(arm) for arm in arms]
    lines = {line.get_label(): line for line in ax.get_lines()}
    for label, metric in {"first": "top1", "active": "active_share"}.items():
        values = [list(names.frame.values(arm, metric).values()) for arm in arms]
        means = [sum(v) / len(v) for v in values if v]
        assert list(lines[label].get_xdata()) == pytest.approx(means)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["first", "active"]
    assert "A first" in text and "absent" not in text
    assert any(list(line.get_xdata()) == [50, 50] for line in ax.get_lines())


def test_without_any_value_there_is_no_figure(names: Names) -> None:
    empty = SPEC.model_copy(update={"panels": SPEC.panels[1:]})
    with style.apply_style(), pytest.raises(NoData, match="no finished trial with unknown"):
        metrics.draw(empty, names)
