"""All claims of a results folder: merged over the scales of a study, as Markdown and CSV."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from paper_tables.claims.findings import Line, chip, counted, findings
from paper_tables.core.text import csv_lines, join_and, plain
from paper_tables.formats.markdown import safe
from paper_tables.site.records import StudyRecord

SCALES = ("laptop", "cpu", "cifar10", "gpu", "imagenet")
"""From small to large; others are smaller."""
OPEN = ("not run", "undecided", "not testable")
TEST_KEYS = ("test", "expected", "measured", "n", "scale", "control", "look", "reason")


def claims_of(studies: Sequence[StudyRecord]) -> list[Line]:
    """Return each claim once per scale at which it says something, with the folder of its study; those of the suite's
    papers first. A scale at which nothing was run, or that repeats another's tests, is left out."""
    found: dict[tuple[str, str], list[Line]] = {}
    for study in studies:
        for claim in study.about["claims"]:
            name = (study.folder.partition("@")[0], claim["name"])
            found.setdefault(name, []).append({**claim, "folder": study.folder})
    merged = [line for lines in found.values() for line in _telling(lines)]
    return sorted(merged, key=lambda line: line["other_paper"])


def _telling(lines: list[Line]) -> list[Line]:
    """Return the lines of a claim from the largest scale to the smallest."""
    ordered = sorted(lines, key=lambda line: -_size(line["scale"]))
    kept: list[Line] = []
    for line in ordered:
        said = [(one["verdict"], one["tests"]) for one in kept]
        if line["verdict"] != "not run" and (line["verdict"], line["tests"]) not in said:
            kept.append(line)
    return kept or ordered[:1]


def _size(scale: str) -> int:
    return max((SCALES.index(one) for one in scale.split(", ") if one in SCALES), default=-1)


def headlines(claims: Sequence[Line]) -> list[Line]:
    """Return each claim once: at the largest scale at which it was decided."""
    first: dict[tuple[str, str], Line] = {}
    for line in claims:
        key = (line["folder"].partition("@")[0], line["name"])
        if key not in first or (first[key]["verdict"] in OPEN and line["verdict"] not in OPEN):
            first[key] = line
    return list(first.values())


def overview(claims: Sequence[Line]) -> dict[str, Any]:
    """Return what the index page shows: findings, counts, the sentences of the suite's papers, those of others."""
    ours = [line for line in claims if not line["other_paper"]]
    return {
        "findings": findings(headlines(claims)),
        "counts": counted(headlines(ours)),
        "lists": [lines for lines in (ours, [line for line in claims if line["other_paper"]]) if lines],
        "chip": chip,
    }


def markdown(claims: Sequence[Line]) -> str:
    shown = overview(claims)
    totals = join_and([f"{n} {verdict}" for verdict, n in shown["counts"].items()])
    lines = ["# Findings", "", *_findings(shown["findings"]), f"Sentences of the papers' abstracts: {totals}.", ""]
    for claims_ in shown["lists"]:
        lines += [f"# {_title(claims_)}", "", *_table(claims_), ""]
    return "\n".join(lines)


def _findings(found: Sequence[Any]) -> list[str]:
    return [line for one in found for line in (f"**{safe(one.paper)}** {safe(' '.join(one.sentences))}", "")]


def _title(claims: Sequence[Line]) -> str:
    return "Other claims" if claims[0]["other_paper"] else "Claims of the papers"


def _table(claims: Sequence[Line]) -> list[str]:
    heads = ("Verdict", "Sentence", "Kind", "Test", "Expected", "Measured", "Control", "n", "Look", "Scale", "Why")
    lines = ["| " + " | ".join(heads) + " |", "|" + " :-- |" * len(heads)]
    paper = ""
    for claim in claims:
        if claim["paper"] != paper:
            paper = claim["paper"]
            lines.append(f"| **{safe(paper)}** |" + " |" * (len(heads) - 1))
        first = [f"**{claim['verdict']}**", safe(claim["quoted"]), safe(claim["kind"])]
        tests = claim["tests"] or [dict.fromkeys([*TEST_KEYS, "verdict"], "")]
        alone = len(tests) == 1
        for i, test in enumerate(tests):
            start = first if i == 0 else ["", "", ""]
            why = "; ".join(dict.fromkeys(w for w in (claim["why"] if i == 0 else "", test["reason"]) if w))
            word = "" if alone else f"{test['verdict']}: "
            cells = [safe(word + test["test"]), *(safe(test[k]) for k in TEST_KEYS[1:3])]
            cells += [safe(test[k]) for k in ("control", "n", "look", "scale")]
            lines.append("| " + " | ".join([*start, *cells, safe(why)]) + " |")
    return lines


def table_csv(claims: Sequence[Line]) -> str:
    """Columns of the contract first in name: study, name, paper, claim, kind, test, expected, measured, n, scale,
    control, verdict; beside them the test's own verdict, look and reason."""
    left = ("study", "name", "paper", "where", "claim", "kind")
    lines = [[*left, *TEST_KEYS, "holds", "verdict"]]
    for claim in claims:
        start = [claim["folder"], *(claim[key] for key in ("name", "paper", "where", "text"))]
        for test in claim["tests"] or [dict.fromkeys([*TEST_KEYS, "verdict", "kind"], "")]:
            texts = {**test, "reason": test["reason"] or claim["why"]}
            kind = test["kind"] or claim["kind"]
            lines.append([*start, kind, *(texts[key] for key in TEST_KEYS), test["verdict"], claim["verdict"]])
    return csv_lines(map(plain, line) for line in lines)
