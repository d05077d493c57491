"""Notes below a comparison: where numbers were measured and published, and which are not comparable."""

from __future__ import annotations

from paper_tables.core.text import escape_markup, join_and
from paper_tables.data.frame import Arm, Frame
from paper_tables.data.other_studies import Measurement, StudyFrames
from paper_tables.schema.comparisons import ComparisonTable
from paper_tables.tables.comparison_rows import ComparedLine
from paper_tables.tables.grid import Grid
from paper_tables.tables.labels import Names
from paper_tables.tables.notes import describe_environment, describe_seeds, describe_study, reconstruction_note

KNOWN = ("measured", "published")


def finish(
    grid: Grid,
    table: ComparisonTable,
    names: Names,
    library: StudyFrames,
    lines: list[ComparedLine],
    measured: list[Measurement],
) -> Grid:
    """Fill in caption, notes and provenance."""
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
        grid.notes.append("Gray: not comparable, for the reason in the note.")
    reconstructed = list(dict.fromkeys(line.label for line in lines if line.reconstructed(names)))
    grid.notes += reconstruction_note(reconstructed)
    grid.provenance = provenance_line(library)
    return grid


def provenance_line(library: StudyFrames) -> str:
    """Return the frames that were used, and the commits that produced them."""
    others = [f"{name} {frame.digest} git {frame.git}" for name, frame in sorted(library.others().items())]
    return "; ".join([f"frame {library.own.digest} git {library.own.git}", *others])


def _measured(table: ComparisonTable, measured: list[Measurement]) -> list[str]:
    """Return the note on the measured studies: scale, seeds, device."""
    frames: dict[int, tuple[Frame, list[Arm]]] = {}
    for one in measured:
        frames.setdefault(id(one.found.frame), (one.found.frame, []))[1].append(one.found.arm)
    if not frames:
        return ["No number of this table has been measured yet."]
    runs = [describe_run(frame, arms) for frame, arms in frames.values()]
    spreads = {c.spread: c.interval for c in table.columns if c.spread != "none"}
    words = {
        "sd": "sample standard deviation over seeds",
        "ci": f"half the width of the {100 * spreads.get('ci', 0.95):g} % Student t interval",
    }
    behind = [words[kind] for kind in spreads]
    tail = [f"After ±: {join_and(behind)}; not given below three seeds."] if behind else []
    return [f"Measured: {'; '.join(runs)}. n counts finished trials.", *tail]


def describe_run(frame: Frame, arms: list[Arm]) -> str:
    """For example "study sret, scale laptop, seeds 0, 1 and 2, on CPU with torch 2.15.0"."""
    return f"study {describe_study(frame)}, {describe_seeds(frame, arms)}, {describe_environment(frame)}"


def _published(lines: list[ComparedLine]) -> list[str]:
    papers = [line.paper for line in lines if line.paper]
    sources = list(dict.fromkeys(escape_markup(row.get("source", "")) for row in papers if row.get("source")))
    return [f"Published: {'; '.join(sources)}."] if sources else []
