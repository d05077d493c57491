"""One list of claims over the scales of a study, and findings made from it."""

from __future__ import annotations

from typing import Any

import pytest

from paper_tables.claims.findings import chip, findings
from paper_tables.site.claim_list import claims_of, headlines, markdown, overview
from paper_tables.site.records import StudyRecord


def line(name: str, verdict: str, scale: str, paper: str = "P", other: bool = False) -> dict[str, Any]:
    test = dict.fromkeys(("test", "expected", "measured", "control", "n", "look", "reason", "bound"), "")
    test |= {"verdict": verdict, "kind": "sampled", "scale": scale, "measured": f"{verdict} {scale}"}
    return {
        "name": name, "text": name, "quoted": f"“{name}”", "paper": paper, "where": "", "kind": "sampled",
        "need": "all", "other_paper": other, "verdict": verdict, "scale": scale, "why": "", "tests": [test],
    }  # fmt: skip


def record(folder: str, *claims: dict[str, Any]) -> StudyRecord:
    return StudyRecord(folder, {"claims": list(claims)})


@pytest.mark.parametrize(
    ("laptop", "cifar10", "kept", "headline"),
    [
        ("contradicted", "reproduced", ["reproduced", "contradicted"], "reproduced"),  # the larger scale first
        ("contradicted", "undecided", ["undecided", "contradicted"], "contradicted"),  # the decided one counts
        ("not run", "undecided", ["undecided"], "undecided"),
        ("reproduced", "not run", ["reproduced"], "reproduced"),
        ("not run", "not run", ["not run"], "not run"),
    ],
)
def test_scales_of_a_claim(laptop: str, cifar10: str, kept: list[str], headline: str) -> None:
    claims = claims_of([record("s", line("a", laptop, "laptop")), record("s@cifar10", line("a", cifar10, "cifar10"))])
    assert [claim["verdict"] for claim in claims] == kept
    assert [claim["verdict"] for claim in headlines(claims)] == [headline]


def test_what_does_not_depend_on_the_scale_is_said_once() -> None:
    counted = line("a", "reproduced", "any")
    assert len(claims_of([record("s", counted), record("s@cifar10", counted)])) == 1


def test_other_papers_have_a_list_of_their_own_and_no_finding() -> None:
    ours, theirs = line("a", "reproduced", "laptop"), line("b", "contradicted", "laptop", "Q", other=True)
    shown = overview(claims_of([record("s", theirs, ours)]))
    assert [[claim["name"] for claim in claims] for claims in shown["lists"]] == [["a"], ["b"]]
    assert shown["counts"] == {"reproduced": 1}
    assert [found.paper for found in shown["findings"]] == ["P:"]
    text = markdown(claims_of([record("s", theirs, ours)]))
    assert text.index("# Findings") < text.index("# Claims of the papers") < text.index("# Other claims")


def test_findings_are_made_from_verdicts() -> None:
    claims = [
        line("a", "reproduced", "laptop"), line("b", "reproduced", "laptop"), line("c", "contradicted", "cifar10"),
        line("d", "by construction", "any"), line("e", "undecided", "laptop"), line("f", "not run", ""),
    ]  # fmt: skip
    (found,) = findings(claims)
    assert found.sentences == (
        "“a” and “b” hold at laptop scale; “c” does not hold at cifar10 scale; “d” holds by construction.",
        "Of its 6 sentences here, 1 is undecided and 1 was not run.",
    )
    assert chip(claims[2]) == "does not hold at cifar10 scale"
    assert chip(claims[5]) == "not run"


def test_tests_that_were_decided_behind_what_was_not_are_findings_too() -> None:
    claim = line("e", "undecided", "laptop")
    claim["tests"] = [
        {**claim["tests"][0], "test": name, "verdict": verdict, "kind": kind, "measured": "+1.0 (0.5 to 1.5)"}
        | {"expected": "≥ 0"}
        for name, verdict, kind in (
            ("x", "reproduced", "sampled"), ("y", "reproduced", "measured"), ("z", "contradicted", "sampled"),
            ("counted", "reproduced", "counted"), ("open", "undecided", "sampled"),
        )
    ]  # fmt: skip
    (found,) = findings([claim])
    assert found.sentences[-2:] == (
        "Behind undecided sentences, “x” (+1.0; expected: ≥ 0) and “y” (+1.0; expected: ≥ 0) came out as expected at"
        " laptop scale.",
        "Behind undecided sentences, “z” (+1.0; expected: ≥ 0) came out against what was expected at laptop scale.",
    )
