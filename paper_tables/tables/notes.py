"""Caption and notes of a table: seeds and n, spread, test, protocol, sources, reconstructed systems."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import median

from paper_tables.core.statistics import MIN_SEEDS, detectable_effect, min_discordant_pairs
from paper_tables.core.text import escape_markup, join_and, join_seeds, shorten
from paper_tables.data.frame import Arm, Frame
from paper_tables.data.other_studies import SelectedArm
from paper_tables.schema.tables import ArmTable, ComparisonTable, CrossedColumns
from paper_tables.tables.grid import ALPHA, Cell, Grid
from paper_tables.tables.labels import Names

ALPHA_AFTER_LOOKS = 0.1
"""By simulation: at most this often is a difference of 0 marked at a number of seeds that looks chose. Most often, in
9.7 % of cases, where the claim's bound is a fifth of a standard deviation from 0; 8.2 % where it is 0."""
LARGE_EFFECT = 1.5
"""Standard deviations: a table in which only larger differences could be significant gets a note on power."""


def finish(
    grid: Grid, table: ArmTable | ComparisonTable, names: Names, used: list[SelectedArm], rebuilt: Iterable[str],
    papers: Iterable[Mapping[str, str]] = (), others: Mapping[str, Frame] | None = None,
) -> Grid:  # fmt: skip
    """Fill in caption, notes and provenance.

    `used`: the measured arms, `rebuilt`: names of reconstructed systems, `papers`: the published rows, `others`: frames
    of other studies by name.
    """
    frame, arms = names.frame, [one.arm for one in used]
    n = _n(used)
    caption = table.caption.replace("{n} seeds", "1 seed") if n == "1" else table.caption
    grid.caption = caption.replace("{n}", n).replace("{title}", escape_markup(frame.title))
    grid.provenance = provenance_line(frame, others or {})
    cells = [cell for row in grid.rows for cell in row.cells]
    for note in table.notes:
        match note:
            case "seeds":
                grid.notes.append(_seeds(frame, arms))
            case "interval" if isinstance(table, ArmTable):
                grid.notes += _interval(table, cells)
            case "test":
                grid.tests_at = len(grid.notes)
            case "protocol" if isinstance(table, ArmTable):
                grid.notes += [_protocol(table, names), *names.scale_notes()]
            case "measured" if isinstance(table, ComparisonTable):
                grid.notes += _measured(table, used)
            case "published":
                sources = dict.fromkeys(escape_markup(row["source"]) for row in papers if row.get("source"))
                grid.notes += [f"Published: {'; '.join(sources)}."] if sources else []
            case _:
                grid.notes.append(note)
    if any(cell.best for cell in cells):
        grid.notes.append(_bold(table, len({one.arm.part for one in used}) > 1))
    if isinstance(table, ComparisonTable) and any(cell.text == "=" for cell in cells):
        grid.notes.append("=: the published number, after rounding to its digits.")
    if isinstance(table, ComparisonTable) and any(cell.grey for cell in cells):
        grid.notes.append("Gray: not comparable, for the reason in the note.")
    grid.notes += own_code_versions(used)
    systems = list(dict.fromkeys(name for name in rebuilt if name))
    text = "Reconstructed from the text of their papers, without official code"
    grid.notes += [f"{text}: {join_and(systems)}."] if systems else []
    return grid


def own_code_versions(used: list[SelectedArm]) -> list[str]:
    """Return a warning where finished runs of these arms have imported different versions of the user's own code."""
    found: dict[str, list[str]] = {}
    several_parts = len({one.arm.part for one in used}) > 1
    for one in used:
        for version in one.frame.own_code(one.arm):
            arm = f"{one.arm.part} {one.arm.label}" if several_parts else one.arm.label
            found.setdefault(version, []).append(escape_markup(arm))
    if len(found) < 2:
        return []
    which = [f"{version} in {shorten(list(dict.fromkeys(arms)), 3)}" for version, arms in found.items()]
    return [
        f"Caution: these runs are of {len(found)} versions of own code, which may differ for that reason alone: "
        f"{'; '.join(which)}. studies run with --rerun stale repeats the older ones."
    ]


def _bold(table: ArmTable | ComparisonTable, several_parts: bool) -> str:
    if isinstance(table.columns, CrossedColumns):
        return "Bold: the best mean of the table."
    within = {column.within for column in table.columns if column.best == "bold"}
    group = " of its group" if "group" in within else " of its part" if "part" in within and several_parts else ""
    return f"Bold: the best mean{group} in its column."


def provenance_line(own: Frame, others: Mapping[str, Frame]) -> str:
    """Return the frames that were used, and the commits that produced them."""
    return "; ".join([own.provenance, *(f"{name} {f.digest} git {f.git}" for name, f in sorted(others.items()))])


def _n(used: list[SelectedArm]) -> str:
    counts = sorted({len(one.trials) for one in used if one.trials})
    return f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}" if counts else "0"


def _seeds(frame: Frame, arms: list[Arm]) -> str:
    seeds = frame.seeds(arms)
    if all(len(frame.finished_trials(arm)) == len(seeds) for arm in arms):
        runs = f"run{'s' * (len(seeds) != 1)}"
        return f"n = {len(seeds)} completed {runs} per setting ({describe_seeds(frame, arms)})."
    return f"n counts completed runs ({describe_seeds(frame, arms)})."


def describe_seeds(frame: Frame, arms: Iterable[Arm]) -> str:
    """For example "seeds 0, 1 and 2"."""
    seeds = frame.seeds(arms)
    return f"seed{'s' * (len(seeds) > 1)} {join_seeds(seeds)}"


def describe_environment(frame: Frame) -> str:
    """For example "on CPU with torch 2.15.0"."""
    devices = [escape_markup(d) for d in frame.distinct("env.gpu")]
    if "env.gpu" not in frame.rows or (frame.rows["env.gpu"].eq("") & frame.rows["status"].eq("done")).any():
        devices.append("CPU")
    torch = [escape_markup(v) for v in frame.distinct("env.torch")]
    return f"on {join_and(devices)}" + (f" with torch {join_and(torch)}" if torch else "")


def describe_study(frame: Frame) -> str:
    """For example "sret, scale laptop"."""
    return escape_markup(frame.study) + (f", {escape_markup(frame.label)}" if frame.label else "")


def describe_run(frame: Frame, arms: Iterable[Arm]) -> str:
    """For example "study sret, scale laptop, seeds 0, 1 and 2, on CPU with torch 2.15.0"."""
    return f"study {describe_study(frame)}, {describe_seeds(frame, arms)}, {describe_environment(frame)}"


def _measured(table: ComparisonTable, used: list[SelectedArm]) -> list[str]:
    """Return the note on the measured studies: scale, seeds, device."""
    frames: dict[int, tuple[Frame, list[Arm]]] = {}
    for one in used:
        frames.setdefault(id(one.frame), (one.frame, []))[1].append(one.arm)
    if not frames:
        return ["No number of this table has been measured yet."]
    runs = [describe_run(frame, arms) for frame, arms in frames.values()]
    spreads = {c.spread: c.interval for c in table.columns if c.spread != "none"}
    words = {
        "sd": "sample standard deviation over seeds",
        "ci": f"half the width of the {100 * spreads.get('ci', 0.95):g} % Student t interval",
    }
    behind = join_and([words[kind] for kind in spreads])
    tail = [f"After ±: {behind}; not given below three seeds."] if behind else []
    return [f"Measured: {'; '.join(runs)}. n counts completed runs.", *tail]


def _interval(table: ArmTable, cells: list[Cell]) -> list[str]:
    columns = [table.columns] if isinstance(table.columns, CrossedColumns) else table.columns
    spreads = []
    if any(c.show == "mean_sd" for c in columns):
        spreads.append("sd: sample standard deviation over seeds")
    intervals = {c.interval for c in columns if c.show in ("mean_ci", "paired_difference")}
    if table.margins == "difference" and isinstance(table.columns, CrossedColumns):
        intervals.add(table.columns.interval)
    spreads += [f"CI: half the width of the {100 * level:g}\u00a0% Student t interval" for level in sorted(intervals)]
    shown = any(cell.spread is not None for cell in cells)
    few = any(0 < cell.n < MIN_SEEDS and cell.value is not None for cell in cells)
    tail = [f"No spread is given below n = {MIN_SEEDS}."] if few and spreads else []
    return [" ".join([f"{'; '.join(spreads)}."] * bool(shown and spreads) + tail)] if shown or tail else []


def test_notes(cells: list[Cell], family: Mapping[str, int]) -> list[str]:
    """Return the notes on the tests of a table; `family`: how many of each test the whole study has."""
    return [*_test([c for c in cells if c.test == "t"], family["t"]), *_images(cells, family["mcnemar"])]


def added_seeds(frame: Frame) -> str:
    """Return what tests at a number of seeds that looks at the claims chose are worth; empty where none were added."""
    decide = frame.metadata.decide
    if decide is None or all(len(frame.finished_trials(arm)) <= decide.looks[0] for arm in frame.arms):
        return ""
    return (
        f"Seeds were added by looks at the claims: stars at {100 * ALPHA:g} % are wrong in up to "
        f"{100 * ALPHA_AFTER_LOOKS:g} % of cases; "
        "verdicts are not affected."
    )


def _test(cells: list[Cell], family: int) -> list[str]:
    if not any(cell.signed for cell in cells):
        return []
    taken = "$\\Delta$ is paired by seed"
    taken += " against the baseline of the same part" if any(cell.text == "ref." for cell in cells) else ""
    tested = [cell for cell in cells if cell.p is not None]
    if not tested:
        return [f"{taken}; not tested (fewer than {MIN_SEEDS} pairs, or differences without spread)."]
    holm = f", Holm-corrected over the {family} differences of this study" if family > 1 else ""
    return [f"{taken}; * p < {ALPHA:g} in a paired t test{holm}.", *_power(tested, family)]


def _images(cells: list[Cell], family: int) -> list[str]:
    """Return the notes on McNemar's test: meaning of the counts, significance, power."""
    cells_mcnemar = [cell for cell in cells if cell.test == "mcnemar"]
    tested = [cell for cell in cells_mcnemar if cell.p is not None]
    if not cells_mcnemar:
        return []
    what = (
        "gained/lost: validation images that only this arm / only the baseline of its part classifies correctly, over"
    )
    if not tested:
        return [f"{what} equal seeds, with the final weights."]
    holm = f", Holm-corrected over the {family} comparisons of this study" if family > 1 else ""
    found = [
        f"{what} equal seeds, with the final weights; * p < {ALPHA:g} with every seed in McNemar's exact test{holm}."
    ]
    fewest = min_discordant_pairs(family, ALPHA)
    weak = sum(cell.least < fewest for cell in tested)
    if weak:
        found.append(
            f"Power: {weak} of the {len(tested)} comparisons differ on fewer than {fewest} images with some seed and "
            "cannot be significant in either direction."
        )
    return found


def _power(tested: list[Cell], family: int) -> list[str]:
    """Return a note if n is too small for a plausible difference to become significant."""
    n = min(cell.n for cell in tested)
    factor = detectable_effect(n, family, ALPHA)
    if factor <= LARGE_EFFECT:
        return []
    fewest = [cell for cell in tested if cell.n == n]
    few = ", the fewest here," if len(fewest) < len(tested) else ""
    least = ""
    if len({cell.tested[0] for cell in fewest}) == 1:  # else the median would be of several units
        size = factor * median(cell.sd or 0.0 for cell in fewest)
        least = f", {size:.{fewest[0].digits}f}{' points' if fewest[0].unit == '%' else ''} at their median"
    return [
        f"Power: with {n} seeds{few} only a difference of {factor:.1f} standard deviations of its pairs or more could "
        f"be significant{least}: the absence of a star is not evidence of no effect."
    ]


def _protocol(table: ArmTable, names: Names) -> str:
    frame = names.frame
    columns = [table.columns] if isinstance(table.columns, CrossedColumns) else table.columns
    metrics = list(dict.fromkeys(c.metric for c in columns if c.metric))
    taken = []
    for metric in metrics:
        source = frame.metadata.metric(metric).source
        if source in ("best", "last"):
            taken.append(f"{names.metric(metric).head} of the {source} epoch")
    return "; ".join([f"Study {describe_study(frame)}, {describe_environment(frame)}", *taken]) + "."
