"""The table of claims: sentence, test, expected and measured value, scale, n and verdict."""

from __future__ import annotations

from collections import Counter
from typing import Any

from paper_tables.claims.judge import judge_claim
from paper_tables.claims.verdicts import VERDICTS, ClaimResult, ConditionResult
from paper_tables.core.text import escape_markup, join_and
from paper_tables.data.other_studies import SelectedArm, StudyFrames
from paper_tables.schema.published import ArmSelectors
from paper_tables.schema.table_file import Spec
from paper_tables.tables import published
from paper_tables.tables.grid import Cell, Grid, Head, Row, fixed
from paper_tables.tables.labels import Names, automatic_digits
from paper_tables.tables.notes import provenance_line

HEADS = (
    Head("Claim", kind="prose", share=0.58),
    Head("Test", kind="prose", share=0.42),
    Head("Expected", kind="text"),
    Head("Measured", kind="text"),
    Head("n", kind="count"),
    Head("Scale", kind="text"),
    Head("Holds", kind="text"),
    Head("Verdict", kind="text"),
)
HOLDS = {"reproduced": "yes", "contradicted": "no", "undecided": "open"}


def build(spec: Spec, names: Names, library: StudyFrames) -> tuple[Grid, list[ClaimResult]]:
    judged = [judge_claim(claim, library) for claim in spec.claims]
    rows: list[Row] = []
    paper = ""
    for one in judged:
        group = escape_markup(one.claim.paper) if one.claim.paper != paper else ""
        paper = one.claim.paper
        rows += _rows(one, names, group)
    counts = Counter(one.verdict for one in judged)
    text = join_and([f"{counts[v]} {v}" for v in VERDICTS if counts[v]])
    caption = f"Claims of the papers, tested by study {escape_markup(names.frame.study)}: {text}."
    grid = Grid("claims", "tab:claims-" + spec.study.replace("_", "-"), caption, HEADS, rows, width="two")
    grid.notes += _notes(judged, names)
    grid.provenance = provenance_line(library.own, library.others())
    return grid, judged


def _rows(one: ClaimResult, names: Names, group: str) -> list[Row]:
    rows = []
    for i, tested in enumerate(one.tested):
        first = i == 0
        where = f" ({one.claim.where})" if one.claim.where else ""
        claim = Cell(text=f"“{one.claim.text}”{where}", note=_aside(one)) if first else Cell()
        cells = (
            claim,
            Cell(text=label(tested, names)),
            Cell(text=expected(tested)),
            measured(tested),
            Cell(text=str(tested.n) if tested.n else "", n=tested.n),
            Cell(text=escape_markup(tested.scale)),
            Cell(text=HOLDS.get(tested.verdict, tested.verdict), note=escape_markup(tested.reason)),
            Cell(text=one.verdict, best=one.verdict in ("reproduced", "contradicted")) if first else Cell(),
        )
        rows.append(Row(cells, group if first else "", rule=first and not group))
    return rows


def _aside(one: ClaimResult) -> str:
    remarks = [one.claim.note.rstrip(".")] if one.claim.note else []
    row = published.find(one.claim.published) if one.claim.published else None
    remarks += [f"stated in {escape_markup(row['source'])}"] if row and row.get("source") else []
    remarks += ["one of the tests is enough"] if one.claim.need == "any" and len(one.tested) > 1 else []
    return "; ".join(remarks)


def label(tested: ConditionResult, names: Names) -> str:
    """ "top-1: recursion 2 − recursion 1"."""
    condition = tested.condition
    if condition.label:
        return condition.label
    head = names.metric(tested.metric or (condition.metric or ("",))[0]).head
    of = _arm(tested.of, condition.of, names)
    if not condition.against:
        return f"{head}: {of}"
    against = _arm(tested.against, condition.against, names)
    sign = {"ratio": " / ", "saving": " saved against "}.get(condition.compare or "", " − ")
    return f"{head}: {of}{sign}{against}"


def _arm(found: SelectedArm | None, choice: ArmSelectors, names: Names) -> str:
    if found is None:
        text = (f"{k} {'|'.join(v)}" if k not in ("part", "arm") else "|".join(v) for k, v in choice[0].items())
        return escape_markup(", ".join(text).replace("_", " "))
    known = Names(names.spec, found.frame)
    own = known.arm(found.arm)
    chosen = choice[0].keys() - {"study", "part", "arm"}
    said = known.coords(found.arm, [axis for axis in found.arm.coords if axis in chosen]) or own
    part = known.part(found.arm.part)
    return part if said == "baseline" else f"{part}, {said}" if len(found.frame.parts) > 1 else said


def expected(tested: ConditionResult) -> str:
    condition = tested.condition
    unit = " %" if condition.compare == "saving" else ""
    if condition.about is not None:
        return f"{condition.about:g} ± {condition.tolerance:g}{unit}"
    around = f" ± {condition.tolerance:g}" if condition.tolerance else ""
    if condition.between is not None:
        return f"{condition.between[0]:g} to {condition.between[1]:g}{around}{unit}".replace("-", "−")
    sign, bound = ("≥", condition.at_least) if condition.at_least is not None else ("≤", condition.at_most)
    return f"{sign} {bound:g}{around}{unit}".replace("-", "−")


def measured(tested: ConditionResult) -> Cell:
    """Return the estimate with its interval in parentheses."""
    if tested.estimate is None:
        return Cell(text="—")
    ends = [v for v in (tested.estimate, tested.low, tested.high) if v is not None]
    digits = tested.condition.digits
    digits = max(automatic_digits(ends), 1) if digits is None else digits
    unit = " %" if tested.condition.compare == "saving" else ""
    signed = tested.condition.against and tested.condition.compare in (None, "difference")
    text = fixed(tested.estimate, digits, bool(signed)).replace("-", "−")
    if tested.low is not None and tested.high is not None and tested.low != tested.high:
        low, high = (fixed(v, digits).replace("-", "−") for v in (tested.low, tested.high))
        text += f" ({low} to {high})"
    folder = tested.of.folder if tested.of else ""
    return Cell(tested.estimate, text=text + unit, n=tested.n, digits=digits, trials=tested.trials, study=folder)


def _notes(judged: list[ClaimResult], names: Names) -> list[str]:
    levels = sorted({c.interval for one in judged for c in one.claim.conditions})
    percentages = join_and([f"{100 * level:g} %" for level in levels])
    notes = [
        f"In parentheses: {percentages} Student t interval over seeds, differences paired by seed, ratios and savings "
        "on the log scale; not adjusted for the number of claims. A test holds if the whole interval is within the "
        "expected range, fails if it is entirely outside, and is open otherwise or below three seeds; parameters and "
        "multiply-accumulates are exact, so that one trial decides."
    ]
    scales = list(dict.fromkeys(escape_markup(t.scale) for one in judged for t in one.tested if t.n and t.scale))
    if scales and scales != ["imagenet"]:
        notes.append(
            f"Verdicts on what was run, scale {join_and(scales)}; the papers speak of ImageNet-1K at full size."
        )
    rebuilt = [one.claim for one in judged if _rebuilt(one, names)]
    if rebuilt:
        papers = list(dict.fromkeys(escape_markup(claim.paper) for claim in rebuilt))
        notes.append(f"Tested with reconstructions, without official code: {join_and(papers)}.")
    return notes


def _rebuilt(one: ClaimResult, names: Names) -> bool:
    if one.claim.reconstructed is not None:
        return one.claim.reconstructed
    found = [f for tested in one.tested for f in (tested.of, tested.against) if f]
    return any(Names(names.spec, f.frame).reconstructed(f.arm.part) for f in found)


def summary(judged: list[ClaimResult], grid: Grid) -> list[dict[str, Any]]:
    """Return the rows of the list of all claims, as JSON."""
    lines, at = [], 0
    for one in judged:
        rows = grid.rows[at : at + len(one.tested)]
        at += len(one.tested)
        tests = [
            {"test": r.cells[1].text, "expected": r.cells[2].text, "measured": r.cells[3].text, "n": r.cells[4].text,
             "scale": r.cells[5].text, "holds": r.cells[6].text, "reason": r.cells[6].note}
            for r in rows
        ]  # fmt: skip
        fields = {"name": one.claim.name, "text": one.claim.text, "paper": one.claim.paper, "where": one.claim.where}
        lines.append({**fields, "verdict": one.verdict, "need": one.claim.need, "tests": tests})
    return lines
