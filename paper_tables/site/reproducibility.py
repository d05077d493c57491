"""reproducibility.md: a study in the form that reviewers of reproductions know, from its results by template."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from paper_tables.claims.findings import WORDS, Line, chip, findings
from paper_tables.core.text import join_and
from paper_tables.formats.markdown import safe
from paper_tables.site.report import distinct, facts, problems, question, rebuilt, versions
from paper_tables.tables.labels import Names

EASY = ("counted", "structural")
"""Kinds of claims that one count, or one test, decides."""


def write(names: Names, claims: Sequence[Line]) -> str:
    """Return the file; `claims` are the summary of the study's claims, none for a study without."""
    frame = names.frame
    known = dict(facts(frame))
    sections = {
        "Scope": _scope(names, claims),
        "Methodology": _methodology(names, known),
        "Results": _results(claims),
        "What was easy": _easy(names, claims),
        "What was difficult": _difficult(names, claims),
        "Communication with the authors": iter(["None is recorded. Whoever reports these results adds it here."]),
        "Compute": _compute(names, known),
    }
    lines = [f"# Reproducibility: {safe(frame.title)}"]
    for head, texts in sections.items():
        lines += ["", f"## {head}", "", *texts]
    return "\n".join([*lines, "", f"<!-- {frame.provenance} -->", ""])


def _scope(names: Names, claims: Sequence[Line]) -> Iterator[str]:
    frame = names.frame
    yield f"Study {safe(frame.study)}{f', {safe(frame.label)}' if frame.label else ''}."
    if asked := question(frame.metadata.study_text or ""):
        yield safe(asked)
    papers = list(dict.fromkeys(claim["paper"] for claim in claims if not claim["other_paper"]))
    if papers:
        count = sum(not claim["other_paper"] for claim in claims)
        yield f"It tests {count} sentences of {safe(join_and(papers))}, each quoted below with its verdict."
    else:
        yield "It tests no sentence of a paper; its report has the comparisons."


def _methodology(names: Names, known: dict[str, str]) -> Iterator[str]:
    frame = names.frame
    systems = rebuilt(names)
    if systems:
        yield f"Without official code, reconstructed from the papers' text: {safe(join_and(systems))}."
        yield ""
    for part in frame.parts:
        arms = [arm for arm in frame.arms if arm.part == part.name]
        axes = [safe(names.axis(axis.name)) for axis in part.axes]
        yield f"- {safe(names.part(part.name))}: {len(arms)} arms; varied: {join_and(axes) or 'nothing'}"
    for name in ("Trials", "Metrics", "Devices", "torch", "Commit", "Source", "Own code"):
        if name in known:
            yield f"- {name}: {safe(known[name])}"
    yield "- Every setting, with its seed, is in the study file, which the report and the export contain."


def _results(claims: Sequence[Line]) -> Iterator[str]:
    for found in findings(claims):
        yield f"{safe(found.paper)} {safe(' '.join(found.sentences))}"
        yield ""
    for claim in claims:
        yield f"- {safe(claim['quoted'])}: {safe(chip(claim))}"
        for test in claim["tests"]:
            n = f", n = {test['n']}" if test["n"] else ""
            yield f"  - {safe(test['test'])}: {safe(test['measured'])}, expected {safe(test['expected'])}{n}"
    if not claims:
        yield "See the tables of report.html."


def _easy(names: Names, claims: Sequence[Line]) -> Iterator[str]:
    decided = [claim for claim in claims if claim["verdict"] in WORDS]
    counted = [claim for claim in decided if claim["kind"] in EASY]
    if counted:
        verb = "is" if len(counted) == 1 else "are"
        yield f"- {len(counted)} of {len(claims)} sentences {verb} decided by counting or by a test, without training."
    looks = [[test["look"] for test in claim["tests"] if test["look"]] for claim in decided]
    first = sum(bool(taken) and all(look.startswith("1 of ") for look in taken) for taken in looks)
    if first:
        yield f"- {first} {'was' if first == 1 else 'were'} decided at the first look."
    if not names.frame.unfinished(names.frame.arms):
        yield "- All planned trials finished."
    elif not counted and not first:
        yield "Nothing that these results show."


def _difficult(names: Names, claims: Sequence[Line]) -> Iterator[str]:
    lines = [f"- {safe(text)}" for text in (*versions(names), *problems(names))]
    for claim in claims:
        reasons = list(dict.fromkeys(test["reason"] for test in claim["tests"] if test["reason"]))
        if claim["verdict"] in ("undecided", "not run", "not testable"):
            why = "; ".join([*([claim["why"]] if claim["why"] else []), *reasons]) or "no reason is recorded"
            lines.append(f"- {safe(claim['quoted'])} {claim['verdict']}: {safe(why)}")
    yield from lines or ["Nothing that these results show."]


def _compute(names: Names, known: dict[str, str]) -> Iterator[str]:
    rows = distinct(names.frame)
    yield f"{len(rows)} trials; time in trials: {known.get('Time in trials') or 'not recorded'}."
    peak = rows["cost.peak_memory_mb"].max() if "cost.peak_memory_mb" in rows else float("nan")
    if peak == peak:
        yield f"The largest trial needed {peak:.0f} MB."
