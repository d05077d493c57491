"""By which interval a condition is judged, and the verdicts that stay: ``decisions.json`` of a study's folder."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as declared

from paper_tables.core.errors import file_error
from paper_tables.core.files import write_atomic
from paper_tables.core.sequential import nominal_error
from paper_tables.core.statistics import MIN_SEEDS
from paper_tables.data.design import Decide
from paper_tables.data.directions import COUNTED_METRICS
from paper_tables.data.other_studies import SelectedArm
from paper_tables.schema.claims import Claim, Condition

FILE = "decisions.json"
WORDS = {
    "text", "verbatim", "paper", "where", "other_paper", "published", "reconstructed", "note", "scales_reason",
    "not_testable",
}  # fmt: skip
WORDS_OF_CONDITION = {"label", "digits", "reason", "scales_reason", "may_only_reason"}
"""What a claim says beside its rule."""


Finding = Literal["reproduced", "contradicted", "by construction", "undecided", "futile", "lost"]
"""Of a look; the first three stand."""


@declared(frozen=True)
class Decision:
    """What a look found for a condition; `condition` counts from 0, `look` from 1; `claim`: as `claim_key`."""

    claim: str
    condition: int
    look: int
    n: int
    estimate: float | None
    low: float | None
    high: float | None
    verdict: Finding
    level: float
    rule: str
    trials: tuple[str, ...]
    controls: tuple[str, ...] = ()
    """The trials of its controls."""

    @property
    def standing(self) -> Literal["reproduced", "contradicted", "by construction"] | None:
        """The verdict that later frames do not change."""
        if self.verdict == "undecided" or self.verdict == "futile" or self.verdict == "lost":
            return None
        return self.verdict


@declared(frozen=True)
class Decisions:
    """All looks of a study, oldest first."""

    history: tuple[Decision, ...] = ()
    version: Literal[1] = 1

    def of(self, claim: str, condition: int, rule: str) -> list[Decision]:
        """Return the looks at a condition under this rule."""
        return [d for d in self.history if (d.claim, d.condition, d.rule) == (claim, condition, rule)]


_DECISIONS = TypeAdapter(Decisions)


def read_decisions(folder: Path) -> Decisions:
    """Return the record of a study's folder, empty where there is none. Raises TableError if it is damaged."""
    path = folder / FILE
    try:
        return _DECISIONS.validate_json(path.read_bytes()) if path.is_file() else Decisions()
    except (OSError, ValidationError) as error:
        raise file_error(path, "is damaged: restore it, or remove it to have the claims judged again") from error


def write_decisions(folder: Path, decisions: Decisions) -> None:
    write_atomic(folder / FILE, _DECISIONS.dump_json(decisions, indent=1) + b"\n")


def rule_digest(claim: Claim, decide: Decide) -> str:
    """Return 12 hex digits of all that decides the claim's verdict: arms, metrics, bounds, margins, looks, error."""
    rule = claim.model_dump(mode="json", exclude_defaults=True, exclude={*WORDS, "conditions"})
    conditions = [
        c.model_dump(mode="json", exclude_defaults=True, exclude=WORDS_OF_CONDITION) for c in claim.conditions
    ]
    text = json.dumps([rule, conditions, decide.looks, decide.error], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def claim_key(claim: Claim, study: str, arms: str) -> str:
    """Return the name of a claim of `study` in the records of the study whose arms it is about."""
    return claim.name if study == arms else f"{study}.{claim.name}"


@dataclass(frozen=True)
class Ruling:
    """How a condition is judged: error of its interval, at which look; `sequence`: by the interval that holds at
    every n, between looks; `constant`: whether a value that is equal in all seeds decides, as it does of a control."""

    error: float = 0.05
    look: str = ""
    sequence: bool = False
    constant: bool = False
    whole: float = 0.05
    """The error of the claim, over all looks."""
    need: Literal["all", "any"] = "all"
    several: int = 1
    """Conditions over seeds of the claim."""
    remarks: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    """What is said of a rule that was changed, also where a verdict stands."""
    looks: tuple[int, ...] = ()

    def to_contradict(self) -> Ruling:
        """Return the one by whose interval a condition is contradicted; `error` is that of "reproduced"."""
        if self.several == 1:
            return self
        error = self.whole / self.several if self.need == "all" else self.whole
        return replace(self, error=error if self.sequence else self.at_a_look(error))

    def at_a_look(self, error: float) -> float:
        """Return the error of each look with which all looks together have `error`; that itself without looks."""
        return nominal_error(self.looks, error) if self.looks else error


@dataclass(frozen=True)
class Docket:
    """A claim with what was decided about it before; `key`: its name in the records of the study with the arms."""

    key: str
    claim: Claim
    decisions: Decisions

    def past(self, index: int | None, decide: Decide) -> list[Decision]:
        """Return the verdicts of looks by this rule. `index`: the condition's in its claim, None for a control."""
        if index is None:
            return []
        return [d for d in self.decisions.of(self.key, index, rule_digest(self.claim, decide)) if d.standing]

    def ruling(self, condition: Condition, sides: list[SelectedArm]) -> Ruling:
        """Return by which interval a condition is judged whose arms are `sides`."""
        decide, share = sides[0].frame.metadata.decide, self.error_share
        whole = whole_error(condition, decide)
        plain = Ruling(whole * share, whole=whole, need=self.claim.need, several=self._several)
        if decide is None:
            return plain
        looks, seeds = decide.looks, _seeds(sides)
        changed = self._changed(decide, rule_digest(self.claim, decide), seeds)
        plain = replace(plain, looks=looks, changed=changed)
        if seeds in looks:
            look = f"{looks.index(seeds) + 1} of {len(looks)}"
            return replace(plain, error=plain.at_a_look(plain.error), look=look)
        between = f"n = {seeds} is no look: the interval is one that holds at every n"
        return replace(plain, sequence=True, remarks=(between,))

    @property
    def error_share(self) -> float:
        """The part of the error that "reproduced" gets: where any condition is enough, each is a chance to be wrong."""
        return 1 / self._several if self.claim.need == "any" else 1.0

    @property
    def _several(self) -> int:
        return max(1, sum(by_seeds(self.claim.whole(condition)) for condition in self.claim.conditions))

    def _changed(self, decide: Decide, rule: str, seeds: int) -> tuple[str, ...]:
        changed, first = decide.changed.get(self.key), decide.rules.get(self.key)
        if first == rule or not (decide.rules or decide.changed):  # a study that was run before rules were recorded
            return ()
        what = "changed" if first else "written"
        return (f"rule {what} after n = {changed.n if changed and changed.digest == rule else seeds}",)


def _seeds(sides: list[SelectedArm]) -> int:
    """Return how many seeds have ended in all arms, or in the arm with the fewest if less than three are common."""
    ended = [set(side.frame.ended(side.arm)) for side in sides]
    common = len(set.intersection(*ended))
    return common if common >= MIN_SEEDS else min(map(len, ended))


def whole_error(condition: Condition, decide: Decide | None) -> float:
    """Return the error of a condition's verdict, over all looks: that of its own interval where it names one."""
    if decide is None or "interval" in condition.model_fields_set:
        return 1 - condition.interval
    return decide.error


def exact(condition: Condition, metric: str = "") -> bool:
    """Return whether one trial decides: counted or shown by a test, equal in all seeds. `metric`: the one found."""
    taken = (metric,) if metric else condition.metric or ()
    return condition.kind in ("counted", "structural") or any(name in COUNTED_METRICS for name in taken)


def by_seeds(condition: Condition, metric: str = "") -> bool:
    """Return whether its verdict differs from seed to seed: its quantity does, or the accuracy that it keeps."""
    return condition.keeps is not None or not exact(condition, metric)
