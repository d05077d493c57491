"""What stands under a comparison: where our numbers were measured, where the others were published, what to doubt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paper_tables.core.text import escape_markup, join_and
from paper_tables.data.frame import Arm, Frame
from paper_tables.data.other_studies import StudyFrames
from paper_tables.schema.comparisons import ComparisonTable
from paper_tables.tables.grid import Grid
from paper_tables.tables.labels import Names

if TYPE_CHECKING:
    from paper_tables.tables.comparison_rows import ComparedLine, Measurement

KNOWN = ("measured", "published")


def finish(
    grid: Grid,
    table: ComparisonTable,
    names: Names,
    library: StudyFrames,
    lines: list[ComparedLine],
    measured: list[Measurement],
) -> Grid:
    """Caption, notes and stamp."""
    grid.caption = table.caption.replace("{title}", escape_markup(names.frame.title))
    for note in table.notes:
        if note == "measured":
            grid.notes += _measured(table, measured)
        elif note == "published":
            grid.notes += _published(lines)
        else:
            grid.notes.append(note)
    cells = [cell for row in grid.rows for cell in row.cells]
    if any(cell.text == "=" for cell in cells):
        grid.notes.append("=: the published number, after rounding to its digits.")
    if any(cell.grey for cell in cells):
        grid.notes.append("Grey: not comparable, for the reason in the note.")
    rebuilt = list(dict.fromkeys(line.label for line in lines if line.reconstructed(names)))
    if rebuilt:
        grid.notes.append(f"Reconstructed from the text of their papers, without official code: {join_and(rebuilt)}.")
    grid.provenance = provenance_line(library)
    return grid


def provenance_line(library: StudyFrames) -> str:
    """The frames that were drawn on, and the commits that made them."""
    others = [f"{name} {frame.digest} git {frame.git}" for name, frame in sorted(library.others().items())]
    return "; ".join([f"frame {library.own.digest} git {library.own.git}", *others])


def _measured(table: ComparisonTable, measured: list[Measurement]) -> list[str]:
    """One sentence per study that was measured: scale, seeds, device."""
    frames: dict[int, tuple[Frame, list[Arm]]] = {}
    for one in measured:
        frames.setdefault(id(one.found.frame), (one.found.frame, []))[1].append(one.found.arm)
    if not frames:
        return ["Nothing of this table has been measured yet."]
    told = [describe_run(frame, arms) for frame, arms in frames.values()]
    spreads = {c.spread: c.interval for c in table.columns if c.spread != "none"}
    words = {
        "sd": "sample standard deviation over seeds",
        "ci": f"half the width of the {100 * spreads.get('ci', 0.95):g} % Student t interval",
    }
    behind = [words[kind] for kind in spreads]
    tail = [f"After ±: {join_and(behind)}; none is given below three seeds."] if behind else []
    return [f"Measured: {'; '.join(told)}. n counts finished trials.", *tail]


def describe_run(frame: Frame, arms: list[Arm]) -> str:
    """ "study sret, scale laptop, seeds 0, 1 and 2, on CPU with torch 2.15.0"."""
    seeds = sorted({int(frame.rows["seed"].iloc[i]) for arm in arms for i in arm.rows})
    label = f", {escape_markup(frame.label)}" if frame.label else ""
    devices = [escape_markup(d) for d in frame.distinct("env.gpu")] or ["CPU"]
    torch = [escape_markup(v) for v in frame.distinct("env.torch")]
    made = f"on {join_and(devices)}" + (f" with torch {join_and(torch)}" if torch else "")
    named = f"seed{'s' * (len(seeds) > 1)} {join_and([str(s) for s in seeds])}"
    return f"study {escape_markup(frame.study)}{label}, {named}, {made}"


def _published(lines: list[ComparedLine]) -> list[str]:
    papers = [line.paper for line in lines if line.paper]
    sources = list(dict.fromkeys(escape_markup(row.get("source", "")) for row in papers if row.get("source")))
    return [f"Published: {'; '.join(sources)}."] if sources else []
