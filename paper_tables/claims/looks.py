"""Looks at the claims of a study whose seeds are added until they are decided: `run --until decided`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from paper_tables.claims.decisions import Decision, Decisions, exact, read_decisions, rule_digest, write_decisions
from paper_tables.claims.judge import MOST_LOST, judge_claim
from paper_tables.claims.verdicts import ConditionResult, inside
from paper_tables.core import sequential
from paper_tables.core.paths import table_file
from paper_tables.core.text import plain
from paper_tables.data.design import Decide
from paper_tables.data.frame import Arm, Frame
from paper_tables.data.load import load_frame
from paper_tables.data.other_studies import StudyFrames
from paper_tables.schema.claims import Claim
from paper_tables.schema.table_file import read_table_file

FUTILE = 0.1
"""Chance of a decision by the last look below which no more seeds are asked for."""
Outcome = Literal["decided", "undecided", "futile", "lost"]


@dataclass(frozen=True)
class LookReport:
    """What a look found. Conditions are named ``claim`` or, where a claim has several, ``claim[2]`` (from 1)."""

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
    Empty at the last look."""
    lines: tuple[str, ...]
    """For the terminal: one line per condition that this look judged."""

    @property
    def finished(self) -> bool:
        """Whether no further look is needed."""
        return not self.arms


@dataclass(frozen=True)
class _Item:
    """A condition at a look."""

    claim: Claim
    index: int
    tested: ConditionResult
    rule: str

    @property
    def name(self) -> str:
        return f"{self.claim.name}[{self.index + 1}]" if len(self.claim.conditions) > 1 else self.claim.name

    @property
    def arms(self) -> list[Arm]:
        """Arms of the study itself that the condition and its controls use."""
        assert self.tested.of is not None
        own = self.tested.of.frame
        sides = (side for one in (self.tested, *self.tested.controls) for side in (one.of, one.against))
        return [side.arm for side in sides if side is not None and side.frame is own]


def rule_digests(spec: Path | None, decide: Mapping[str, Any]) -> dict[str, str]:
    """Return claim -> 12 hex digits over its conditions, their bounds and margins, the looks and the error.

    `spec`: the table file; None where a study has none. `decide`: as in the study file, ``{"looks": …, "error": …}``.
    Claims whose conditions are counted or structural have no entry. Raises TableError for a faulty table file.
    """
    rules = _decide(decide)
    return {
        claim.name: rule_digest(claim, rules)
        for claim in _claims(spec)
        if not all(exact(claim.whole(condition)) for condition in claim.conditions)
    }


def take_look(folder: Path, spec: Path | None, n: int) -> LookReport:
    """Judge every condition over seeds of the study's claims on the first n seeds; freeze and record what is decided.

    `folder` holds the collected frame, whose metadata has `decide`; an arm's seeds are counted in the order of its
    rows. `spec`: the table file, None for the study's own. The record is ``decisions.json`` in `folder`; a look that
    it has is not taken again. A condition with trials that have neither finished nor failed is not judged.
    Raises TableError for a faulty table file or frame, ValueError if n is no look of the study.
    """
    frame = load_frame(folder)
    decide = frame.metadata.decide
    if decide is None or n not in decide.looks:
        raise ValueError(f"{n} seeds are no look of {frame.study}: {list(decide.looks) if decide else 'it has none'}")
    look = _Look(decide, decide.looks.index(n) + 1, read_decisions(folder).history)
    found: dict[Outcome, list[str]] = {"decided": [], "undecided": [], "futile": [], "lost": []}
    arms, lines = dict[tuple[str, str], None](), []
    for item in _items(_claims(spec or table_file(frame.study)), StudyFrames(folder, frame.first_seeds(n)), decide):
        outcome, text = look.judge(item)
        if outcome is not None:
            found[outcome].append(item.name)
        if outcome == "undecided" and look.later:
            arms |= {(arm.part, arm.label): None for arm in item.arms}
        lines.append(f"{outcome or item.tested.verdict:10}{item.name}: {plain(text)}")
    if look.history != read_decisions(folder).history:
        write_decisions(folder, Decisions(look.history))
    names = {outcome: tuple(conditions) for outcome, conditions in found.items()}
    return LookReport(n=n, arms=tuple(arms), lines=tuple(lines), **names)


def _items(claims: tuple[Claim, ...], library: StudyFrames, decide: Decide) -> Iterator[_Item]:
    """Yield the conditions over seeds of this study's own arms that have results at this scale."""
    for claim in claims:
        rule = rule_digest(claim, decide)
        for index, tested in enumerate(judge_claim(claim, library).tested):
            ours = tested.of is not None and tested.of.frame is library.own
            if ours and not exact(tested.condition, tested.metric):
                yield _Item(claim, index, tested, rule)


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
        """Return the outcome, None for what no number of seeds decides, and the reason; record it."""
        tested = item.tested
        before = Decisions(self.history).of(item.claim.name, item.index, item.rule)
        frozen = next((d for d in before if d.final), None)
        if frozen is not None:
            return "decided", f"{frozen.verdict} at look {frozen.look} of {len(self.decide.looks)}, {measured(tested)}"
        if tested.verdict in ("not run", "not testable"):
            return None, tested.reason
        assert tested.of is not None
        frame: Frame = tested.of.frame
        if missing := sum(self.n - len(frame.ended(arm)) for arm in item.arms):
            last = before[-1] if before else None
            if last is not None and last.verdict == "futile":
                return "futile", f"no more seeds were asked for after look {last.look}"
            return "undecided", f"{missing} trials of this look have not ended"
        taken = next((d for d in before if d.look == self.number), None)
        outcome, text = self._outcome(item, frame)
        if taken is not None:
            outcome = "undecided" if taken.verdict == "undecided" else outcome
        else:
            self.history = (*self.history, self._record(item, outcome))
        return outcome, text

    def _outcome(self, item: _Item, frame: Frame) -> tuple[Outcome, str]:
        tested = item.tested
        if tested.verdict in ("reproduced", "contradicted", "by construction"):
            return "decided", f"{tested.verdict} at {tested.look}, {measured(tested)}"
        for side in (tested.of, tested.against):
            if side is not None and side.frame is frame:
                lost = frame.without_value(side.arm, tested.metric)
                if lost > MOST_LOST * self.decide.looks[-1]:
                    return "lost", tested.reason
        if tested.low is None or tested.high is None or tested.estimate is None:
            return "undecided", tested.reason
        if inside(tested.condition, tested.low, tested.high):
            return "futile", tested.reason
        return self._futility(tested)

    def _futility(self, tested: ConditionResult) -> tuple[Outcome, str]:
        mean, sd, region = spread(tested)
        text = f"{measured(tested)}: {tested.reason}"
        distance = min(abs(mean - bound) for bound in region)
        needed = sequential.needed_n(distance, sd, tested.level)
        many = f"about {needed} seeds" if needed < sequential.MOST_SEEDS else "more seeds than anyone has"
        text += f"; {many} would decide at this estimate and spread"
        if not self.later:
            return "undecided", text
        chance = sequential.chance_of_decision(tested.n, mean, sd, self.later, tested.level, region)
        if needed > self.later[-1] and chance < FUTILE:
            return "futile", f"{text}, the last look has {self.later[-1]} (chance of a decision {100 * chance:.0f} %)"
        return "undecided", text

    def _record(self, item: _Item, outcome: Outcome) -> Decision:
        tested = item.tested
        verdict = tested.verdict if outcome == "decided" else "undecided" if outcome == "lost" else outcome
        return Decision(
            claim=item.claim.name, condition=item.index, look=self.number, n=tested.n, estimate=tested.estimate,
            low=tested.low, high=tested.high, verdict=verdict, level=tested.level, rule=item.rule,
            trials=tested.trials,
        )  # fmt: skip
