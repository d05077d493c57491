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
from paper_tables.tables.published_counts import COUNTS, CountSource, assigned_rows
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
    order = list(arms)
    lines = sorted(
        _lines(table.verdicts), key=lambda line: order.index(line.model) if line.model in arms else len(order)
    )
    done = {
        line.model: arms[line.model] for line in lines if line.model in arms and frame.finished_trials(arms[line.model])
    }
    if not done:
        raise NoData("none of these models has been measured")
    rows, last = [], ""
    for line in lines:
        rows.append(_row(line, frame, done.get(line.model), first=line.model != last))
        last = line.model
    over = {"params_m": "Parameters (M)", "gflops": "MACs (G)"}
    heads = [Head("Model", kind="text"), Head("Published by", kind="text")]
    for key in COUNTS:
        heads += [Head(text, over=over[key]) for text in ("publ.", "meas.", "diff.", "verdict")]
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
    measured = {} if arm is None else _measured(frame, arm)
    trials = () if arm is None else tuple(frame.finished_trials(arm))
    rebuilt = " (reconstructed)" if line.model.startswith(RECONSTRUCTED) else ""
    cells = [
        Cell(text=escape_markup(COMMON_SUFFIX.sub("", line.model) + rebuilt) if first else ""),
        Cell(text=escape_markup(shorten(list(dict.fromkeys(line.papers)), 2))),
    ]
    for key in COUNTS:
        cells += _cells(line, key, measured, trials)
    return Row(tuple(cells), rule=first)


def _cells(line: CountLine, key: str, measured: dict[str, float], trials: tuple[str, ...]) -> list[Cell]:
    """Return four cells: published, measured, difference, verdict."""
    text, factor = line.printed[key], line.source.factor if key == "gflops" else 1.0
    value = published.number(text)
    if value is None:
        return [Cell(), Cell(), Cell(), Cell()]
    twice = f"{factor:g} operations for one multiply-accumulate" if factor != 1 else ""
    paper = Cell(value, digits=decimals(text), note=escape_markup(twice))
    if key not in measured:
        return [paper, Cell(), Cell(), Cell(text="not run")]
    ours, fine = factor * measured[key], max(MEASURED_DIGITS, decimals(text))
    verdict = judge_rounding(text, ours, _conventions(key, measured, factor), line.source.why[key])
    return [
        paper,
        Cell(ours, digits=fine, n=1, trials=trials),
        Cell(ours - value, digits=fine, signed=True),
        Cell(text=verdict.outcome if verdict.outcome != "explained" else "differs", note=escape_markup(verdict.why)),
    ]


def _measured(frame: Frame, arm: Arm) -> dict[str, float]:
    metrics = (*COUNTS, "params_training_m", "gflops_norms")
    values = {metric: list(frame.values(arm, metric).values()) for metric in metrics}
    return {metric: found[0] for metric, found in values.items() if found}


def _conventions(key: str, measured: dict[str, float], factor: float) -> list[Convention]:
    if key == "params_m":
        whole = measured.get("params_training_m", measured[key])
        return [Convention(whole, HEADS)] if whole != measured[key] else []
    return [Convention(factor * (measured["gflops"] + measured.get("gflops_norms", 0.0)), NORMS)]


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
