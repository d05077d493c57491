"""The table and the figures of a study that has no table file: its arms by its metrics."""

from __future__ import annotations

import re

from pydantic import TypeAdapter

from paper_tables.data.frame import Frame
from paper_tables.schema.figures import Figure
from paper_tables.schema.table_file import Spec
from paper_tables.schema.tables import ArmColumn, ArmRows, ArmTable
from paper_tables.tables.labels import Names

FIGURE: TypeAdapter[Figure] = TypeAdapter(Figure)
DEFAULT_CURVES = ("val.top1", "val.loss", "train.loss")
MAX_LINES = 6
"""Most lines per panel in a row of panels."""


def default_spec(frame: Frame) -> Spec:
    """Return a table of all metrics, comparing the first with a direction, and default figures."""
    metrics = frame.main_metrics
    judged = [m for m in metrics if frame.direction(m) != "none"] or metrics
    tables = [_table(frame, metrics, judged[0])] if metrics else []
    return Spec(study=frame.study, tables=tuple(tables), figures=tuple(_figures(frame, judged)))


def _table(frame: Frame, metrics: list[str], main: str) -> ArmTable:
    columns = []
    for metric in metrics:
        best = "none" if frame.direction(metric) == "none" else "bold"
        show = "mean_sd" if metric == main or frame.direction(metric) == "max" else "mean"
        columns.append(ArmColumn.model_validate({"metric": metric, "show": show, "best": best}))
        compared = any(frame.baseline(part.name) for part in frame.parts) and len(frame.arms) > len(frame.parts)
        if metric == main and compared:
            columns.append(
                ArmColumn(
                    metric=main,
                    head=f"$\\Delta$ {Names(Spec(study=frame.study), frame).metric(main).head}",
                    show="paired_difference",
                    mark="holm",
                )
            )
    return ArmTable(
        name="results",
        label="tab:" + re.sub(r"[^A-Za-z0-9]+", "-", frame.study.partition("@")[0]),
        caption="{title}: all arms ({n} seeds).",
        rows=ArmRows(group=("part",) if len(frame.parts) > 1 else ()),
        columns=tuple(columns),
    )


def _figures(frame: Frame, metrics: list[str]) -> list[Figure]:
    if not metrics:
        return []
    figure_specs: list[dict[str, object]] = [
        {"name": "arms", "kind": "dots", "x": metrics[0], "caption": "Every arm: its seeds, their mean and interval."}
    ]
    cheap = [m for m in metrics[1:] if frame.direction(m) == "min" and "loss" not in m]
    if cheap and frame.direction(metrics[0]) == "max":
        known = Names(Spec(study=frame.study), frame)
        of, against = (known.metric(metric).label for metric in (metrics[0], cheap[0]))
        caption = f"{of} against {against[:1].lower()}{against[1:]}; the lines are the Pareto fronts of each part."
        figure_specs.append({"name": "pareto", "kind": "scatter", "x": cheap[0], "y": metrics[0], "frontier": True})
        figure_specs[-1]["caption"] = caption
    figure_specs += _curves(frame)
    return [FIGURE.validate_python({"width": "two", **figure}) for figure in figure_specs]


def _curves(frame: Frame) -> list[dict[str, object]]:
    """Return training curves along the first axis of each part: panels of one figure, several if many lines."""
    logged = [m for m in DEFAULT_CURVES if m in frame.curve_metrics()]
    parts = [part for part in frame.parts if part.axes]
    if not (logged and parts and frame.curves.loc[frame.curves["metric"] == logged[0], "step"].nunique() > 1):
        return []
    about = {"kind": "curves", "metric": logged[0], "caption": "Training, along the first axis of each part."}
    panels = [{"filter": {"part": part.name}, "color": part.axes[0].name} for part in parts]
    if len(parts) == 1 or all(len(part.axes[0].levels) <= MAX_LINES for part in parts):
        return [{**about, "name": "training", "panels": panels[:3]}]
    names = ["training" if i == 0 else f"training_{i + 1}" for i in range(len(panels))]
    return [{**about, "name": name, "panels": [panel]} for name, panel in zip(names, panels, strict=True)]
