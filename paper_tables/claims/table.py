"""The tables of claims: one of sentences with their verdicts, one of the tests that the verdicts come from."""

from __future__ import annotations

from collections import Counter
from typing import Any

from paper_tables.claims import cells
from paper_tables.claims.decisions import exact
from paper_tables.claims.judge import judge_claim
from paper_tables.claims.verdicts import VERDICTS, ClaimResult, ConditionResult
from paper_tables.core.text import escape_markup, join_and, plain
from paper_tables.data.other_studies import SelectedArm, StudyFrames
from paper_tables.schema.claims import Claim
from paper_tables.schema.table_file import Spec
from paper_tables.tables import published
from paper_tables.tables.grid import Cell, Grid, Head, Row
from paper_tables.tables.labels import Names
from paper_tables.tables.notes import own_code_versions, provenance_line

SENTENCES = (
    Head("Verdict", kind="text"),
    Head("Sentence", kind="prose", share=1.0),
    Head("Kind", kind="text"),
    Head("Scale", kind="text"),
)
TESTS = (
    Head("Verdict", kind="text"),
    Head("Test", kind="prose", share=0.35),
    Head("Expected", kind="prose", share=0.15),
    Head("Measured", kind="prose", share=0.22),
    Head("Control", kind="prose", share=0.28),
    Head("n", kind="count"),
    Head("Look", kind="text"),
)
DECIDED = ("reproduced", "partly reproduced", "contradicted")
TESTS_PER_PAGE = 10
LONGEST_TITLE = 90
"""Letters of a sentence above its tests, in one line."""


def build(spec: Spec, names: Names, library: StudyFrames) -> tuple[list[Grid], list[ClaimResult]]:
    """Return the table of sentences, those of the tests behind them, and the results."""
    judged = sorted((judge_claim(claim, library) for claim in spec.claims), key=lambda one: one.claim.other_paper)
    label, study = "tab:claims-" + spec.study.replace("_", "-"), escape_markup(names.frame.study)
    counts = Counter(one.verdict for one in judged)
    text = join_and([f"{counts[v]} {v}" for v in VERDICTS if counts[v]])
    whose = "What the papers say" if any(one.claim.verbatim for one in judged) else "What is asked"
    sentences = Grid(
        "claims", label, f"{whose}, and what study {study} found: {text}.",
        SENTENCES, _sentences(judged), width="two",
    )  # fmt: skip
    sentences.notes += _about_claims(judged, names)
    grids = [sentences]
    for i, part in enumerate(_pages([one for one in judged if one.tested])):
        name, more = (f"claim_tests_{i + 1}", ", continued") if i else ("claim_tests", "")
        rows = [row for one in part for row in _tests(one, names)]
        caption = f"The tests behind the verdicts of study {study}{more}."
        grids.append(Grid(name, f"{label}-tests{f'-{i + 1}' if i else ''}", caption, TESTS, rows, width="two"))
        grids[-1].notes += [] if i else _about_tests(judged)
    versions = own_code_versions([SelectedArm(names.frame, arm) for arm in names.frame.arms])
    for grid in grids:
        grid.notes += versions
        grid.provenance = provenance_line(library.own, library.others())
    return grids, judged


def _pages(judged: list[ClaimResult]) -> list[list[ClaimResult]]:
    """Return the claims in groups whose tests fit a printed page."""
    pages: list[list[ClaimResult]] = []
    for one in judged:
        if not pages or sum(len(other.tested) for other in pages[-1]) + len(one.tested) > TESTS_PER_PAGE:
            pages.append([])
        pages[-1].append(one)
    return pages


def quoted(claim: Claim) -> str:
    return f"“{claim.text}”" if claim.verbatim else claim.text


def _sentences(judged: list[ClaimResult]) -> list[Row]:
    rows, paper = [], ""
    for one in judged:
        where = f" ({one.claim.where})" if one.claim.where else ""
        row = (
            Cell(text=one.verdict, best=one.verdict in DECIDED),
            Cell(text=quoted(one.claim) + where, note=_aside(one)),
            Cell(text=one.claim.kind),
            Cell(text=escape_markup(one.scale)),
        )
        rows.append(Row(row, escape_markup(one.claim.paper) if one.claim.paper != paper else ""))
        paper = one.claim.paper
    return rows


def _aside(one: ClaimResult) -> str:
    claim = one.claim
    row = published.find(claim.published) if claim.published else None
    remarks = [
        claim.not_testable, claim.by_construction if one.verdict == "by construction" else "", claim.note.rstrip("."),
        f"stated in {escape_markup(row['source'])}" if row and row.get("source") else "",
        "one of the tests is enough" if claim.need == "any" and len(claim.conditions) > 1 else "",
    ]  # fmt: skip
    return "; ".join(remark for remark in remarks if remark)


def _tests(one: ClaimResult, names: Names) -> list[Row]:
    text = quoted(one.claim)
    title = text if len(text) <= LONGEST_TITLE else text[: LONGEST_TITLE - 1].rsplit(" ", 1)[0] + "…"
    return [_test(tested, names, "" if i else title) for i, tested in enumerate(one.tested)]


def _test(tested: ConditionResult, names: Names, group: str) -> Row:
    row = (
        Cell(text=tested.verdict, best=tested.verdict in DECIDED, note=escape_markup(_why(tested))),
        Cell(text=cells.label(tested, names), note=escape_markup(tested.condition.reason)),
        Cell(text=cells.expected(tested.condition)),
        cells.measured(tested),
        Cell(text=cells.controls(tested)),
        Cell(text=cells.seeds(tested)),
        Cell(text=tested.look),
    )
    return Row(row, group)


def _why(tested: ConditionResult) -> str:
    said = tested.condition.by_construction if tested.verdict == "by construction" else tested.reason
    return "; ".join(text for text in (said, *tested.remarks) if text)


def _about_claims(judged: list[ClaimResult], names: Names) -> list[str]:
    found = {one.verdict for one in judged}
    notes = [
        "Counted: parameters, multiply-accumulates. Measured: speed. Sampled: over seeds. Structural: a property that "
        "a test of the suite shows."
    ]
    if "by construction" in found:
        notes.append("By construction: the model was built to have it, so that finding it confirms nothing.")
    if "partly reproduced" in found:
        notes.append("Partly reproduced: some of the sentence's tests hold, others do not or were not run.")
    scales = list(dict.fromkeys(escape_markup(t.scale) for one in judged for t in one.tested if t.n and t.scale))
    run = [scale for scale in scales if scale not in ("any", "imagenet")]
    if run:
        notes.append(f"Verdicts hold at the scale that is named ({join_and(run)}); the papers speak of ImageNet-1K.")
        notes += names.scale_notes()
    rebuilt = list(dict.fromkeys(escape_markup(one.claim.paper) for one in judged if _rebuilt(one, names)))
    if rebuilt:
        notes.append(f"Tested with reconstructions, without official code: {join_and(rebuilt)}.")
    return notes


def _about_tests(judged: list[ClaimResult]) -> list[str]:
    tests = [tested for one in judged for tested in one.tested]
    sampled = [t for t in tests if t.low is not None and not exact(t.condition, t.metric)]
    notes = [
        f"In parentheses: {_levels(sampled)} Student t interval for other seeds with the same validation images, "
        "differences paired by seed, ratios and savings on the log scale."
    ] * bool(sampled) + [
        "A test holds if the whole interval lies inside the expected range and fails if it lies entirely outside; "
        "otherwise, or below three seeds, it is undecided. What is counted needs one trial.",
        "Control: an arm that must fail the same rule, by its interval or by being clearly worse than the tested one, "
        "seed by seed. A test is undecided until it does, and not testable where it passes.",
    ]
    if any(tested.with_images for tested in tests):
        notes.append("After “images”: the interval for other seeds and other images like these.")
    if any(tested.look for tested in tests):
        notes.append(
            "Look: seeds were added until a test was decided, which stands; the intervals are as much wider as keeps "
            "the probability that any look is wrong at what one interval has."
        )
    conditions = [tested.condition for tested in tests]
    if any(c.non_inferior for c in conditions):
        notes.append("Not inferior: at most that margin below. The interval's lower end is compared with the margin.")
    if any(c.equivalent for c in conditions):
        notes.append("Equivalent: within that margin in either direction (two one-sided tests).")
    return notes


def _levels(sampled: list[ConditionResult]) -> str:
    """ "95 %", "95 % (98.7 % at each of several looks)"."""
    once, looked = (sorted({f"{100 * (1 - t.error):.3g} %" for t in sampled if bool(t.look) == at}) for at in (0, 1))
    decides = [t.of.frame.metadata.decide for t in sampled if t.of and t.look]
    whole = once or sorted({f"{100 * (1 - decide.error):.3g} %" for decide in decides if decide})
    return join_and(whole) + (f" ({join_and(looked)} at each of several looks)" if looked else "")


def _rebuilt(one: ClaimResult, names: Names) -> bool:
    if one.claim.reconstructed is not None:
        return one.claim.reconstructed
    found = [f for tested in one.tested for f in (tested.of, tested.against) if f]
    return any(Names(names.spec, f.frame).reconstructed(f.arm.part) for f in found)


def summary(judged: list[ClaimResult], names: Names) -> list[dict[str, Any]]:
    """Return the claims as JSON, for the lists of all studies."""
    return [_claim_line(one, names) for one in judged]


def _claim_line(one: ClaimResult, names: Names) -> dict[str, Any]:
    claim = one.claim
    fields = {name: getattr(claim, name) for name in ("name", "text", "paper", "where", "kind", "need", "other_paper")}
    why = claim.not_testable or (claim.by_construction if one.verdict == "by construction" else "")
    tests = [_test_line(tested, names) for tested in one.tested]
    return {**fields, "quoted": quoted(claim), "verdict": one.verdict, "scale": one.scale, "why": why, "tests": tests}


def _test_line(tested: ConditionResult, names: Names) -> dict[str, str]:
    texts = {
        "verdict": tested.verdict, "kind": tested.condition.kind or "", "test": cells.label(tested, names),
        "expected": cells.expected(tested.condition), "measured": cells.measured(tested).text,
        "control": cells.controls(tested), "n": cells.seeds(tested), "look": tested.look, "scale": tested.scale,
        "reason": _why(tested), "bound": tested.condition.reason,
    }  # fmt: skip
    return {name: plain(text) for name, text in texts.items()}
