"""Looks at the claims of a study whose seeds are added until they are decided: `run --until decided`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from paper_tables.claims import decisions as record
from paper_tables.claims.cells import measured
from paper_tables.claims.controls import MOST_LOST, NOT_RUN, PASSES
from paper_tables.claims.decisions import Decision, Decisions, Finding, by_seeds, claim_key, rule_digest
from paper_tables.claims.judge import NO_COSTS, NO_RATIO, judge_condition
from paper_tables.claims.kept_accuracy import NOT_MEASURED
from paper_tables.claims.quantity import judged, judged_region
from paper_tables.claims.standing import rests_on
from paper_tables.claims.verdicts import ConditionResult, inside, outside
from paper_tables.core import sequential
from paper_tables.core.paths import CLAIMS, SUFFIX, table_file_of
from paper_tables.core.text import plain
from paper_tables.data.design import Decide
from paper_tables.data.frame import Arm
from paper_tables.data.load import load_frame
from paper_tables.data.other_studies import StudyFrames, first_available
from paper_tables.schema.claims import Claim
from paper_tables.schema.table_file import is_table_file, read_table_file

FUTILE = 0.1
"""Chance of a decision by the last look below which no more seeds are asked for."""
Outcome = Literal["decided", "undecided", "futile", "lost"]
OUTCOMES: Mapping[Finding, Outcome] = {
    "reproduced": "decided", "contradicted": "decided", "by construction": "decided",
    "undecided": "undecided", "futile": "futile", "lost": "lost",
}  # fmt: skip
DECIDE = TypeAdapter(Decide)
NO_FINDING = (NOT_RUN, NOT_MEASURED, NO_COSTS, NO_RATIO)
"""What more seeds do not mend: a look has no finding then, and is taken when it is there."""


@dataclass(frozen=True)
class LookReport:
    """What a look found. Conditions are named ``claim``, ``claim[2]`` (from 1) where it has several,
    ``study.claim`` where it is another study's."""

    n: int
    decided: tuple[str, ...]
    """Frozen at this or an earlier look."""
    undecided: tuple[str, ...]
    """Worth more seeds."""
    futile: tuple[str, ...]
    """Hardly decided by the last look. They ask for no seeds, and are judged again where their arms get some."""
    lost: tuple[str, ...]
    """Never decided, because too many trials failed or diverged."""
    arms: tuple[tuple[str, str], ...]
    """(part, arm label) of this study that undecided conditions need at the next look, controls included.
    Empty: no further look is needed."""
    lines: tuple[str, ...]
    """For the terminal: one line per condition that this look judged."""


@dataclass(frozen=True)
class _Item:
    """A condition at a look."""

    key: str
    claim: Claim
    index: int
    tested: ConditionResult
    rule: str

    @property
    def name(self) -> str:
        return condition_name(self.key, self.claim, self.index)

    def is_by(self, decision: Decision) -> bool:
        """Return whether a look's finding is one by the trials that are judged now, with the same numbers."""
        tested, condition = self.tested, self.tested.condition
        of = first_available([tested.of] if tested.of else [], [tested.metric])
        theirs = condition.against_metric or condition.metric or ()
        against = first_available([tested.against] if tested.against else [], theirs)
        return decision.estimate is None if of is None else rests_on(decision, condition, of, against)

    @property
    def arms(self) -> list[Arm]:
        """Arms of the study itself that the condition and its controls use."""
        assert self.tested.of is not None
        own = self.tested.of.frame
        sides = (side for one in (self.tested, *self.tested.controls) for side in one.sides)
        return list({(side.arm.part, side.arm.label): side.arm for side in sides if side.frame is own}.values())


def rule_digests(spec: Path | None, decide: Mapping[str, Any]) -> dict[str, str]:
    """Return claim (`study.claim` of another study) -> 12 hex digits over conditions, bounds, margins, looks, error.

    `spec`: the table file; None where a study has none. `decide`: as in the study file, ``{"looks": …, "error": …}``.
    Claims without a condition over seeds of the study's own arms have no entry. Raises TableError for a faulty table
    file.
    """
    rules = DECIDE.validate_python(dict(decide))
    return {
        key: rule_digest(claim, rules)
        for key, claim, index in conditions(spec)
        if by_seeds(claim.whole(claim.conditions[index]))
    }


def take_look(folder: Path, spec: Path | None, n: int) -> LookReport:
    """Judge every condition over seeds of the study's arms on the first n seeds; freeze and record what is decided.

    Conditions of the study's own claims, and those of other studies' claims that name it.
    `folder` holds the collected frame, whose metadata has `decide`; an arm's seeds are counted in the order of its
    rows. `spec`: the table file, None for the study's own. The record is ``decisions.json`` in `folder`; a look that
    it has is not taken again. A condition with trials that have neither finished nor failed is not judged.
    Raises TableError for a faulty table file or frame, ValueError if n is no look of the study.
    """
    frame = load_frame(folder)
    decide = frame.metadata.decide
    if decide is None or n not in decide.looks:
        raise ValueError(f"{n} seeds are no look of {frame.study}: {list(decide.looks) if decide else 'it has none'}")
    look = _Look(decide, decide.looks.index(n) + 1, record.read_decisions(folder).history)
    found: dict[Outcome, list[str]] = {"decided": [], "undecided": [], "futile": [], "lost": []}
    arms, lines = dict[tuple[str, str], None](), []
    for item in _items(table_file_of(folder, spec), StudyFrames(folder, frame), n, decide):
        outcome, text = look.judge(item)
        if outcome is not None:
            found[outcome].append(item.name)
        if outcome == "undecided" and look.later:
            arms |= {(arm.part, arm.label): None for arm in item.arms}
        lines.append(f"{outcome or item.tested.verdict:12}  {item.name}: {plain(text)}")
    if look.history != record.read_decisions(folder).history:
        record.write_decisions(folder, Decisions(look.history))
    names = {outcome: tuple(conditions) for outcome, conditions in found.items()}
    return LookReport(n=n, arms=tuple(arms), lines=tuple(lines), **names)


def _items(spec: Path | None, library: StudyFrames, n: int, decide: Decide) -> Iterator[_Item]:
    """Yield the conditions over seeds of this study's arms that have results at this scale, judged on the first n
    seeds where no verdict stands."""
    first = StudyFrames(library.folder, library.own.first_seeds(n), library.read)
    for key, claim, index in conditions(spec):
        tested = judge_condition(key, claim, index, library)
        if tested.kept is None:
            tested = judge_condition(key, claim, index, first)
        if tested.of is not None and by_seeds(tested.condition, tested.metric):
            yield _Item(key, claim, index, tested, rule_digest(claim, decide))


@dataclass
class _Look:
    """A look, counted from 1, with the record of all looks up to now."""

    decide: Decide
    number: int
    history: tuple[Decision, ...]

    @property
    def n(self) -> int:
        return self.decide.looks[self.number - 1]

    @property
    def later(self) -> tuple[int, ...]:
        return self.decide.looks[self.number :]

    def judge(self, item: _Item) -> tuple[Outcome | None, str]:
        """Return the outcome, None for what no number of seeds decides, and its text; record it."""
        tested = item.tested
        before = [d for d in Decisions(self.history).of(item.key, item.index, item.rule) if item.is_by(d)]
        taken = next((look for look in before if look.look == self.number), None)
        text = f"{measured(tested).text}, n = {tested.n}"
        if tested.kept is not None:
            return "decided", f"{tested.verdict} at look {tested.look}: {text}"
        if tested.verdict in ("not run", "not testable") and tested.reason != PASSES:
            return None, tested.reason
        if taken is None:
            if missing := self._missing(item):
                if before and (given_up := OUTCOMES[before[-1].verdict]) in ("futile", "lost"):
                    return given_up, f"no seeds were added after look {before[-1].look} of {len(self.decide.looks)}"
                return "undecided", f"{missing} trials of this look have not ended"
            if tested.reason in NO_FINDING:
                return "futile", tested.reason
            taken = _decision(item, self.number, self._finding(tested))
            self.history = (*self.history, taken)
        outcome = OUTCOMES[taken.verdict]
        if outcome == "decided":
            return outcome, f"{taken.verdict} at look {tested.look}: {text}"
        return outcome, "; ".join([text, tested.reason, *tested.remarks])

    def _missing(self, item: _Item) -> int:
        """Return how many trials of this look have neither finished nor failed."""
        assert item.tested.of is not None
        return sum(self.n - len(item.tested.of.frame.ended(arm)) for arm in item.arms)

    def _finding(self, tested: ConditionResult) -> Finding:
        if tested.verdict == "reproduced" or tested.verdict == "contradicted" or tested.verdict == "by construction":
            return tested.verdict
        if tested.lost > MOST_LOST * self.decide.looks[-1]:
            return "lost"
        estimate = tested.estimate
        if tested.low is None and estimate is not None and outside(tested.condition, estimate, estimate):
            return "futile"  # equal in all seeds, as a network is that learned nothing
        if not self.later or tested.lost > MOST_LOST * self.n or tested.low is None or tested.high is None:
            return "undecided"
        if inside(tested.condition, tested.low, tested.high):
            return "futile" if tested.reason == PASSES else "undecided"
        assert tested.estimate is not None and tested.sd is not None
        mean, region = judged(tested.condition, tested.estimate), judged_region(tested.condition)
        levels = tested.error, tested.error_outside
        chance = sequential.chance_of_decision(tested.n, mean, tested.sd, self.later, levels, region)
        return "futile" if chance < FUTILE and (tested.needed or 0) > self.later[-1] else "undecided"


def _beside(tested: ConditionResult) -> list[ConditionResult]:
    """Return the controls of the same study."""
    return [one for one in tested.controls if one.of and tested.of and one.of.frame is tested.of.frame]


def _decision(item: _Item, look: int, verdict: Finding) -> Decision:
    tested = item.tested
    return Decision(
        claim=item.key, condition=item.index, look=look, n=tested.n, estimate=tested.estimate, low=tested.low,
        high=tested.high, verdict=verdict, level=tested.error, rule=item.rule, trials=tested.trials,
        controls=tuple(dict.fromkeys(trial for one in _beside(tested) for trial in one.trials)),
    )  # fmt: skip


def conditions(spec: Path | None) -> Iterator[tuple[str, Claim, int]]:
    """Yield the conditions about arms of a table file's study: of its claims, then of those beside it that name it.

    Each as the key of its claim in the study's records (`claim`, `study.claim` for another study's), claim and index.
    """
    if spec is None:
        return
    own = read_table_file(spec)[0]
    pattern = f"*{SUFFIX}" if spec.name.endswith(SUFFIX) else "*.yaml"
    beside = (path for path in sorted(spec.parent.glob(pattern)) if path.name not in (spec.name, CLAIMS))
    others = [path for path in beside if pattern != "*.yaml" or is_table_file(path)]
    tables = [(own, ("", own.study)), *((read_table_file(path)[0], (own.study,)) for path in others)]
    for table, names in tables:
        for claim in table.claims:
            key = claim_key(claim, table.study, own.study)
            yield from ((key, claim, i) for i, c in enumerate(claim.conditions) if c.of and c.study in names)


def condition_name(key: str, claim: Claim, index: int) -> str:
    return f"{key}[{index + 1}]" if len(claim.conditions) > 1 else key
