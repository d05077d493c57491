"""The report: one self-contained HTML page without dates; its tables can be sorted."""

from __future__ import annotations

import base64
import math
from collections import Counter
from itertools import takewhile
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from paper_tables.claims.findings import findings
from paper_tables.core.text import escape_markup, join_and, join_seeds, plain
from paper_tables.data.frame import Frame
from paper_tables.data.other_studies import SelectedArm
from paper_tables.figures.draw import DrawnFigure
from paper_tables.formats import html
from paper_tables.tables.grid import Grid
from paper_tables.tables.labels import RECONSTRUCTED, Names
from paper_tables.tables.notes import own_code_versions

HERE = Path(__file__).parent / "templates"
MAX_PROBLEMS = 25
"""Most problems listed one by one."""


def template(name: str) -> Template:
    """Return a page template; it includes the style and script templates."""
    loader = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    loader.filters["plain"] = plain
    return loader.get_template(name)


def write(
    names: Names,
    grids: list[Grid],
    pictures: list[DrawnFigure],
    left_out: dict[str, str],
    verdicts: list[Grid],
    claims: list[dict[str, Any]],
    links: dict[str, str],
) -> str:
    """The page. `left_out` names tables and figures whose data are missing, with the reason; `claims` are those of
    `verdicts`' tables; `links` leads from a trial to its run on an MLflow server."""
    frame = names.frame
    return template("report.html.j2").render(
        frame=frame,
        question=question(frame.metadata.study_text or ""),
        counts=counts(frame),
        problems=problems(names),
        versions=versions(names),
        left_out=left_out,
        facts=facts(frame),
        rebuilt=rebuilt(names),
        tables=[_table(grid) for grid in grids],
        findings=findings(claims),
        verdicts=[_table(grid) for grid in verdicts],
        links=links,
        figures=[_figure(picture) for picture in pictures],
        trials=trials(names),
        metrics=frame.main_metrics,
        study_text=frame.metadata.study_text or "",
    )


def question(study_text: str) -> str:
    """Return the first paragraph of the study file's opening comment: what the study asks. An editor's line is none."""
    lines = [line for line in study_text.splitlines() if not line.startswith("# yaml-language-server:")]
    return " ".join(line.removeprefix("# ").strip() for line in takewhile(lambda line: line.startswith("# "), lines))


def _table(grid: Grid) -> dict[str, Any]:
    return {
        "name": grid.name,
        "caption": plain(grid.caption),
        "table": Markup(html.table(grid)),
        "notes": Markup(html.notes(grid)),
    }


def _figure(picture: DrawnFigure) -> dict[str, Any]:
    """The SVG is a data URL: inline elements would mix the ids of several SVGs."""
    data = "data:image/svg+xml;base64," + base64.b64encode(picture.files["svg"]).decode()
    texts = {"caption": plain(picture.caption), "words": plain(picture.alt_text)}
    return {"name": picture.name, **texts, "data": data, "wide": picture.wide}


def distinct(frame: Frame) -> pd.DataFrame:
    """Return the rows of the frame, one for a trial that several arms share: it was run, and took its time, once."""
    return frame.rows[(frame.rows["trial"] == "") | ~frame.rows.duplicated("trial")]


def counts(frame: Frame) -> dict[str, int]:
    """Return status -> number of trials, finished ones first."""
    found = Counter(distinct(frame)["status"].astype(str))
    return dict(sorted(found.items(), key=lambda item: (item[0] != "done", item[0])))


def problems(names: Names) -> list[str]:
    """Return unfinished trials, arm by arm, and metrics without a value."""
    frame, found = names.frame, []
    if not frame.arms:
        return ["There are no trials in these results."]
    metrics = list(frame.metadata.metrics)
    for arm in frame.arms:
        where, other = plain(f"{names.part(arm.part)}, {names.arm(arm)}"), frame.unfinished([arm])
        if other:
            found.append(f"{where}: {other} of {len(arm.rows)} trials")
            continue
        for metric in metrics:
            had = len(frame.values(arm, metric))
            lost = len(frame.finished_trials(arm)) - had
            if lost and (had or not frame.values(arm, metrics[0])):  # otherwise the metric does not apply to this arm
                found.append(f"{where}: {metric} has no finite value in {lost} of {len(arm.rows)} finished trials")
    if len(found) > MAX_PROBLEMS:
        found[MAX_PROBLEMS - 1 :] = [f"and {len(found) - MAX_PROBLEMS + 1} more arms: see Trials"]
    return found


def versions(names: Names) -> list[str]:
    """Return a warning where finished trials have imported different versions of the user's own code."""
    arms = [SelectedArm(names.frame, arm) for arm in names.frame.arms]
    return [plain(text) for text in own_code_versions(arms)]


def facts(frame: Frame) -> list[tuple[str, str]]:
    """Return protocol and environment as recorded by the trials."""
    seeds = frame.seeds(frame.arms)
    spent, gpu = (float(distinct(frame).get(name, pd.Series()).sum()) for name in ("cost.seconds", "cost.gpu_hours"))
    sources = {name: info.source for name, info in frame.metadata.metrics.items() if info and info.source}
    rows = [
        ("Study", frame.study),
        ("Run", frame.label),
        ("Trials", f"{len(distinct(frame))} ({len(frame.arms)} arms, seeds {join_seeds(seeds)})"),
        ("Metrics", "; ".join(f"{name}: {source}" for name, source in sources.items())),
        ("Devices", join_and(frame.distinct("env.gpu") or (["CPU"] if frame.distinct("env.torch") else []))),
        ("torch", join_and(frame.distinct("env.torch"))),
        ("Commit", join_and(frame.distinct("env.git"))),
        ("Source", join_and(frame.distinct("env.source"))),
        ("Own code", join_and(frame.distinct("env.own"))),
        ("Time in trials", _hours(spent) + (f", {gpu:.1f} GPU-hours" if gpu and gpu >= 0.05 else "")),
        ("Frame", frame.digest),
    ]
    return [(name, value) for name, value in rows if value]


def _hours(seconds: float) -> str:
    if not math.isfinite(seconds) or seconds <= 0:
        return ""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 3600:.1f} h" if seconds >= 7200 else f"{seconds / 60:.0f} min"


def rebuilt(names: Names) -> list[str]:
    """Return the reconstructed systems of this study: by its parts, else by model names in the study's text."""
    frame = names.frame
    parts = [
        plain(names.part(p.name)).removesuffix(" (reconstructed)") for p in frame.parts if names.reconstructed(p.name)
    ]
    text = frame.metadata.study_text or ""
    return parts or [name for name in RECONSTRUCTED if f"{name}_" in text]


def trials(names: Names) -> list[dict[str, Any]]:
    """Return one row per trial."""
    frame = names.frame
    metrics = frame.main_metrics
    lines: list[dict[str, Any]] = []
    seen: set[str] = set()  # a trial that several arms share is listed with each, and is the target of a link once
    numbers = [frame.rows[f"metric.{m}"].tolist() if f"metric.{m}" in frame.rows else None for m in metrics]
    kept = [frame.rows[name].tolist() for name in ("trial", "seed", "status")]
    for arm in frame.arms:
        labels = {"part": names.part(arm.part), "arm": names.arm(arm), "label": escape_markup(arm.label)}
        info = {name: plain(text) for name, text in labels.items()}
        for i in arm.rows:
            trial, seed, status = (column[i] for column in kept)
            values = [math.nan if column is None else column[i] for column in numbers]
            shown = [f"{v:.5g}" if math.isfinite(v) else "—" for v in values]
            first = trial not in seen
            lines.append({"id": trial, "first": first, **info, "seed": seed, "status": status, "values": shown})
            seen.add(trial)
    return lines
