"""Published parameters and multiply-accumulates next to the measured ones, with a verdict on each pair."""

from __future__ import annotations

import re
from dataclasses import dataclass

from paper_tables.core.text import escape_markup, join_and, shorten
from paper_tables.data.frame import Arm, Frame
from paper_tables.schema.tables import CountTable
from paper_tables.tables import published
from paper_tables.tables.grid import Cell, Grid, Head, NoData, Row
from paper_tables.tables.labels import RECONSTRUCTED, Names
from paper_tables.tables.notes import describe_run
from paper_tables.tables.published import COUNTS, CountSource, assigned_rows
from paper_tables.tables.rounding_verdict import Convention, decimals, judge_rounding

AXIS = "model"
MEASURED_DIGITS = 3
"""Digits of measured numbers and differences, unless the published one has more."""
NORMS = "equal once the operations of norms are counted as fvcore does"
HEADS = "equal including the parameters used in training only"


SHORT_PAPER_NAMES = {
    "mmpretrain model zoo": "mmpretrain",
    "timm benchmark": "timm",
    "timm validation": "timm",
    "DeiT baseline as quoted in Edge-RecViT": "Edge-RecViT",
    "frequency-aware token reduction (NeurIPS 2025) comparison": "FreqAware",
    "CLCA group profiling (2025)": "CLCA",
    "pruna token merging (2026)": "pruna",
}
COMMON_SUFFIX = re.compile(r"_patch\d+(_window\d+)?(_224)?")


@dataclass
class CountLine:
    """Equal published numbers of one model, from one or several sources."""

    model: str
    printed: dict[str, str]
    source: CountSource
    papers: list[str]


def build(table: CountTable, names: Names) -> Grid:
    """Return the table. Raises NoData if no model of the group was measured."""
    frame = names.frame
    arms = {arm.coords[AXIS]: arm for arm in frame.arms if arm.part != "speed" and AXIS in arm.coords}
    order = {model: i for i, model in enumerate(arms)}
    lines = sorted(_lines(table.verdicts), key=lambda line: order.get(line.model, len(order)))
    found = {line.model: arms[line.model] for line in lines if line.model in arms}
    done = {model: arm for model, arm in found.items() if frame.finished_trials(arm)}
    if not done:
        raise NoData("none of these models has been measured")
    new = [i == 0 or line.model != lines[i - 1].model for i, line in enumerate(lines)]
    rows = [_row(line, frame, done.get(line.model), first) for line, first in zip(lines, new, strict=True)]
    heads = [Head("Model", kind="text"), Head("Published by", kind="text")]
    for over in ("Parameters (M)", "MACs (G)"):
        heads += [Head(text, over=over) for text in ("paper", "ours", "diff.", "verdict")]
    grid = Grid(table.name, table.label, table.caption, tuple(heads), rows, width="two")
    grid.notes += [*table.notes, *_notes(rows, lines, frame, list(done.values()))]
    grid.provenance = frame.provenance
    return grid


def _lines(group: str) -> list[CountLine]:
    """Return the rows of a group; a source that gives only one of a row's two numbers joins that row."""
    mine = [(row, source) for row, _, source in assigned_rows() if source and source.group == group and source.model]
    lines: list[CountLine] = []
    for row, source in sorted(mine, key=lambda pair: sum(not pair[0][key] for key in COUNTS)):
        printed = {key: row[key].strip() for key in COUNTS}
        line = next((line for line in lines if _fits(line, printed, source)), None)
        if line is None:
            line = CountLine(source.model, printed, source, [])
            lines.append(line)
        line.papers.append(_paper(row["paper"]))
    return lines


def _fits(line: CountLine, printed: dict[str, str], source: CountSource) -> bool:
    alike = (line.model, line.source.factor, line.source.why) == (source.model, source.factor, source.why)
    return alike and all(text in ("", line.printed[key]) for key, text in printed.items())


def _paper(name: str) -> str:
    """Return the paper's name without year and venue."""
    return SHORT_PAPER_NAMES.get(name, name.partition(" (")[0].partition(",")[0].partition(" comparison")[0])


def _row(line: CountLine, frame: Frame, arm: Arm | None, first: bool) -> Row:
    rebuilt = " (reconstructed)" if line.model.startswith(RECONSTRUCTED) else ""
    model = COMMON_SUFFIX.sub("", line.model) + rebuilt if first else ""
    texts = [model, shorten(list(dict.fromkeys(line.papers)), 2)]
    cells = [cell for key in COUNTS for cell in _cells(line, key, frame, arm)]
    return Row((*(Cell(text=escape_markup(text)) for text in texts), *cells), rule=first)


def _cells(line: CountLine, key: str, frame: Frame, arm: Arm | None) -> list[Cell]:
    """Return four cells: published, measured, difference, verdict."""
    text, factor = line.printed[key], line.source.factor if key == "gflops" else 1.0
    value = published.number(text)
    if value is None:
        return [Cell(), Cell(), Cell(), Cell()]
    twice = f"{factor:g} operations for one multiply-accumulate" if factor != 1 else ""
    paper = Cell(value, digits=decimals(text), note=twice)
    counted = _counted(frame, arm, key) if arm else None
    if arm is None or counted is None:
        return [paper, Cell(), Cell(), Cell(text="not run")]
    ours, fine = factor * counted, max(MEASURED_DIGITS, decimals(text))
    verdict = judge_rounding(text, ours, _conventions(key, counted, factor, frame, arm), line.source.why[key])
    return [
        paper,
        Cell(ours, digits=fine, n=1, trials=tuple(frame.finished_trials(arm))),
        Cell(ours - value, digits=fine, signed=True),
        Cell(text=verdict.outcome if verdict.outcome != "explained" else "differs", note=escape_markup(verdict.why)),
    ]


def _counted(frame: Frame, arm: Arm, metric: str) -> float | None:
    return next(iter(frame.values(arm, metric).values()), None)


def _conventions(key: str, counted: float, factor: float, frame: Frame, arm: Arm) -> list[Convention]:
    if key == "gflops":
        return [Convention(factor * (counted + (_counted(frame, arm, "gflops_norms") or 0.0)), NORMS)]
    whole = _counted(frame, arm, "params_training_m")
    return [Convention(whole, HEADS)] if whole is not None and whole != counted else []


def _notes(rows: list[Row], lines: list[CountLine], frame: Frame, arms: list[Arm]) -> list[str]:
    verdicts = [cell.text for row in rows for cell in row.cells if cell.text in ("equal", "differs", "unexplained")]
    counts = {outcome: verdicts.count(outcome) for outcome in ("equal", "differs", "unexplained")}
    totals = join_and([f"{n} {outcome}" for outcome, n in counts.items() if n])
    notes = [
        f"equal: after rounding to the published digits; differs: for the reason in the note; unexplained: no reason "
        f"known. Verdicts: {totals}.",
        f"Measured: {describe_run(frame, arms)}; counted, the same for every seed.",
    ]
    rebuilt = sorted({COMMON_SUFFIX.sub("", line.model) for line in lines if line.model.startswith(RECONSTRUCTED)})
    if rebuilt:
        notes.append(f"Reconstructed, without official code: {escape_markup(join_and(rebuilt))}.")
    return notes
