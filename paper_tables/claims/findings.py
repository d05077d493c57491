"""Findings: one or two sentences per paper, made from the verdicts on its claims by a template."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from paper_tables.claims.verdicts import VERDICTS
from paper_tables.core.text import join_and

Line = dict[str, Any]
"""A claim of `claims.table.summary`."""

WORDS = {
    "reproduced": ("holds", "hold"),
    "partly reproduced": ("holds in part", "hold in part"),
    "contradicted": ("does not hold", "do not hold"),
    "by construction": ("holds by construction", "hold by construction"),
}
CAME_OUT = {"reproduced": "as expected", "contradicted": "against what was expected"}
"""A test behind a sentence."""
OPEN = {
    "undecided": ("is undecided", "are undecided"),
    "not testable": ("cannot be tested", "cannot be tested"),
    "not run": ("was not run", "were not run"),
}


@dataclass(frozen=True)
class Finding:
    """What came out for a paper: what was decided, sentence by sentence, and how many were not."""

    paper: str
    sentences: tuple[str, ...]


def findings(claims: Iterable[Line]) -> list[Finding]:
    """Return one for each paper of the suite; those that it only borrows from have none."""
    papers: dict[str, list[Line]] = {}
    for claim in claims:
        if not claim["other_paper"]:
            papers.setdefault(claim["paper"], []).append(claim)
    return [Finding(f"{paper}:", _sentences(lines)) for paper, lines in papers.items()]


def _sentences(claims: Sequence[Line]) -> tuple[str, ...]:
    decided = [_said(group, words) for verdict, words in WORDS.items() for group in _by_scale(claims, verdict)]
    counts = Counter(claim["verdict"] for claim in claims)
    rest = [f"{counts[v]} {words[counts[v] > 1]}" for v, words in OPEN.items() if counts[v]]
    found = ["; ".join(decided) + "."] if decided else []
    if rest:
        of = f"Of its {len(claims)} sentences here" if decided else f"Of {len(claims)} sentences of its abstract"
        found.append(f"{of}, {join_and(rest)}.")
    found += [f"Behind undecided sentences, {text}." for text in _tests_of_undecided(claims)]
    return tuple(found)


def _tests_of_undecided(claims: Sequence[Line]) -> Iterator[str]:
    """ "“Top-1: restart on − off” (+12.6; expected: ≥ 0) came out as expected at laptop scale": tests that were decided
    behind sentences that were not."""
    groups: dict[tuple[str, str], list[str]] = {}
    for claim in claims:
        for test in claim["tests"] if claim["verdict"] == "undecided" else ():
            if test["verdict"] in CAME_OUT and test["kind"] in ("sampled", "measured"):
                text = f"“{test['test']}” ({test['measured'].partition(' (')[0]}; expected: {test['expected']})"
                groups.setdefault((test["verdict"], at_scale(test)), []).append(text)
    for (verdict, scale), said in groups.items():
        yield f"{join_and(said)} came out {CAME_OUT[verdict]}{scale}"


def _by_scale(claims: Sequence[Line], verdict: str) -> list[list[Line]]:
    groups: dict[str, list[Line]] = {}
    for claim in claims:
        if claim["verdict"] == verdict:
            groups.setdefault(claim["scale"], []).append(claim)
    return list(groups.values())


def _said(group: Sequence[Line], words: tuple[str, str]) -> str:
    """ "“2.5x inference acceleration” does not hold at laptop scale"."""
    return f"{join_and([claim['quoted'] for claim in group])} {words[len(group) > 1]}{at_scale(group[0])}"


def at_scale(claim: Line) -> str:
    """ " at laptop scale"; nothing for what is counted or shown."""
    return f" at {claim['scale']} scale" if claim["scale"] not in ("", "any") else ""


def chip(claim: Line) -> str:
    """The verdict with its scale: "does not hold at laptop scale"; "not run"."""
    words = WORDS.get(claim["verdict"])
    return f"{words[0]}{at_scale(claim)}" if words else str(claim["verdict"])


def counted(claims: Iterable[Line]) -> dict[str, int]:
    """Return verdict -> number of claims, in the order of the verdicts."""
    counts = Counter(claim["verdict"] for claim in claims)
    return {verdict: counts[verdict] for verdict in VERDICTS if counts[verdict]}
