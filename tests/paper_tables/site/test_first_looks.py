"""reproducibility.md says which sentences the first look decided."""

from __future__ import annotations

from pathlib import Path

import pytest
import synthetic_frame

from paper_tables.data.load import load_frame
from paper_tables.schema.table_file import Spec
from paper_tables.site import reproducibility
from paper_tables.tables.labels import Names

FIRST, LATER = ("contradicted", ["1 of 5", ""]), ("partly reproduced", ["1 of 5", "4 of 5"])
OPEN, TAKEN_BACK = ("undecided", ["1 of 5"]), ("not testable", ["1 of 5"])


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([FIRST, LATER, OPEN, TAKEN_BACK], "- 1 was decided at the first look."),
        ([FIRST, FIRST], "- 2 were decided at the first look."),
        ([LATER, OPEN, TAKEN_BACK], ""),
        ([("reproduced", [""])], ""),
    ],
)
def test_a_sentence_is_decided_at_the_first_look(found: list[tuple[str, list[str]]], said: str, tmp_path: Path) -> None:
    """All of its tests were, and it has a verdict: one that its control took back has none."""
    names = Names(Spec(study="redundancy_ablation"), load_frame(synthetic_frame.study(tmp_path)))
    test = {"test": "t", "measured": "1", "expected": "1", "n": "", "reason": "", "verdict": "", "kind": "sampled"}
    claims = [
        {"paper": "p", "other_paper": False, "quoted": "q", "kind": "sampled", "verdict": verdict, "scale": "laptop",
         "why": "", "tests": [{**test, "look": look} for look in looks]}
        for verdict, looks in found
    ]  # fmt: skip
    lines = reproducibility.write(names, claims).splitlines()
    assert [line for line in lines if "first look" in line] == [said] * bool(said)
