"""The claims of the repository: quoted from the abstracts, with controls, and about arms that the studies have."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import planned_studies
import pytest
import yaml

from paper_tables.data.load import load_frame
from paper_tables.data.other_studies import StudyFrames
from paper_tables.schema.claims import Claim, Condition
from paper_tables.schema.published import ArmSelectors

ROOT = Path(__file__).parents[3]
ABSTRACTS = yaml.safe_load((Path(__file__).parents[1] / "support" / "abstracts.yaml").read_text())


CLAIMS = {(study, claim.name): claim for study in planned_studies.STUDIES for claim in planned_studies.claims(study)}
OURS = {key: claim for key, claim in CLAIMS.items() if not claim.other_paper}
CONDITIONS = [(claim, claim.whole(condition)) for claim in CLAIMS.values() for condition in claim.conditions]


def test_at_least_24_sentences_of_four_papers() -> None:
    quoted = [claim for claim in OURS.values() if claim.verbatim]
    assert len(quoted) >= 24
    assert {claim.paper for claim in quoted} == set(ABSTRACTS)


@pytest.mark.parametrize("claim", [c for c in OURS.values() if c.verbatim], ids=lambda c: f"{c.paper[:4]}-{c.name}")
def test_sentences_are_the_papers_words(claim: Claim) -> None:
    assert claim.text in " ".join(ABSTRACTS[claim.paper].split())


def test_a_rule_has_a_control_and_a_bound_a_reason() -> None:
    """Unless it is counted. A bound that the sentence itself states needs no reason, nor one that is only a sign."""
    for claim, condition in CONDITIONS:
        at = f"{claim.name}: {condition.label or condition.metric}"
        assert condition.kind == "counted" or condition.controls, at
        bound = next((getattr(condition, rule) for rule in condition.rules), 0)
        numbers = bound if isinstance(bound, tuple) else (bound,)
        stated = all(f"{abs(number):g}" in claim.text for number in numbers)
        assert stated or bound == 0 or condition.reason or condition.by_construction, at


def test_tests_that_claims_name_exist() -> None:
    named = {c.shown_by for _, condition in CONDITIONS for c in (condition, *condition.controls) if c.shown_by}
    for name in named:
        file, _, function = name.partition("::")
        found = ast.parse((ROOT / file).read_text()).body
        assert function in {node.name for node in found if isinstance(node, ast.FunctionDef)}, name


# ---- every arm that a rule names is planned, at every scale at which the rule decides


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planned_studies.write(tmp_path_factory.mktemp("planned"))


def selectors(condition: Condition) -> Iterator[ArmSelectors]:
    for one in (condition, *condition.controls):
        yield from (choice for choice in (one.of, one.against) if choice)


def test_every_arm_of_a_rule_is_planned(planned: Path) -> None:
    missing = []
    for folder in sorted(planned.iterdir()):
        library = StudyFrames(folder, load_frame(folder))
        for claim in planned_studies.claims(library.own.study):
            for condition in map(claim.whole, claim.conditions):
                if condition.scales and library.own.scale not in condition.scales:
                    continue
                gone = [choice for choice in selectors(condition) if not library.all(choice)]
                missing += [f"{folder.name} {claim.name}: {choice}" for choice in gone]
    assert missing == []
