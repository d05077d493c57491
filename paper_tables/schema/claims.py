"""Claims: sentences of a paper, each with conditions on measured numbers and the controls that must fail them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from paper_tables.schema.base import Entry, Flag, Name, Number, Whole
from paper_tables.schema.published import ArmSelectors, Metrics, Published, Scales

Kind = Literal["counted", "measured", "sampled", "structural", "not testable"]
"""counted: parameters, multiply-accumulates, layers; one trial decides. measured: speed, repeated. sampled: over seeds.
structural: a property that a test shows. not testable: background, novelty."""

RULES = ("at_least", "at_most", "about", "between", "non_inferior", "equivalent")


class Control(Entry):
    """What must fail the condition's rule: an untrained model, shuffled labels, a random choice, chance, noise."""

    label: str = Field(min_length=1)
    of: ArmSelectors = ()
    against: ArmSelectors = ()
    """Default: as the condition's."""
    metric: Metrics | None = None
    """Default: the condition's."""
    shown_by: str = ""
    """Of a structural condition: the test in which the control does not have the property."""

    @model_validator(mode="after")
    def _given(self) -> Control:
        if bool(self.of) == bool(self.shown_by):
            raise ValueError("needs either `of` or `shown_by`")
        return self


class Condition(Entry):
    """A quantity and its expected range. It holds if its whole interval is inside, fails if all of it is outside.

    The quantity is the metric of the arm `of`, or, with `against`, the comparison of the two, paired by seed:
    difference (of - against), ratio (of / against) or saving (100 * (1 - of / against), in per cent).
    A structural condition has no quantity: it names the test that shows it.
    """

    kind: Kind | None = None
    """Default: the claim's."""
    metric: Metrics | None = None
    """One metric, or several names of it: the first with a value is used."""
    of: ArmSelectors = ()
    against: ArmSelectors = ()
    against_metric: Metrics | None = None
    """Metric of `against`, where it is another one than that of `of`."""
    compare: Literal["difference", "ratio", "saving"] | None = None
    at_least: Number | None = None
    at_most: Number | None = None
    about: Number | None = None
    between: tuple[Number, Number] | None = None
    non_inferior: Number | None = Field(None, gt=0)
    """Margin: `of` is at most this much below `against`."""
    equivalent: Number | None = Field(None, gt=0)
    """Margin: `of` is at most this far from `against`, in either direction (two one-sided tests)."""
    tolerance: Number = Field(0.0, ge=0)
    """Widens the range; required with `about`."""
    reason: str = ""
    """Why this bound or margin."""
    gain: Number | None = Field(None, gt=0)
    """The claimed gain in points: not testable where `against` leaves less than three times as much room below 100."""
    comparable: Number | None = Field(None, gt=1)
    """Largest ratio of the two arms' multiply-accumulates: beyond it, a win of the costlier and a loss of the
    cheaper arm decide nothing."""
    keeps: Number | None = Field(None, gt=0)
    """The accuracy (top1) of `of` may be at most this many points below that of `against`; else a holding condition
    decides nothing."""
    may_only: Literal["reproduced", "contradicted"] | None = None
    """The only verdict that it can give: it is sufficient for the sentence, or necessary. The other is not testable."""
    may_only_reason: str = ""
    controls: tuple[Control, ...] = ()
    by_construction: str = ""
    """Why a holding condition says nothing: the model was built to have it."""
    scales: Scales = ()
    """Default: the claim's."""
    scales_reason: str = ""
    shown_by: str = ""
    """Of a structural condition: the test that shows it, `path::name`."""
    interval: Number = Field(0.95, gt=0, lt=1)
    """Default in a study with `decide`: 1 less its error."""
    digits: Whole | None = Field(None, ge=0, le=6)
    label: str = ""
    """Description of what is measured; default: built from the arms."""

    @property
    def study(self) -> str:
        """The study whose arms it is about; "" for that of the claim, or if it is about none."""
        return self.of[0].get("study", ("",))[0] if self.of else ""

    @model_validator(mode="after")
    def _rule(self) -> Condition:
        if bool(self.may_only) != bool(self.may_only_reason):
            raise ValueError("`may_only` and `may_only_reason` belong together")
        if self.shown_by:
            if self.metric or self.of or self.rules:
                raise ValueError("`shown_by` takes no metric, arms or bound")
            if not self.label:
                raise ValueError("`shown_by` needs a label")
            if any(control.of for control in self.controls):
                raise ValueError("the controls of a condition with `shown_by` are shown by a test")
            return self
        if not self.metric:
            raise ValueError("needs a metric")
        if not self.of:
            raise ValueError("`of` names no arm")
        if len(self.rules) != 1:
            raise ValueError(f"needs exactly one of {', '.join(RULES)}")
        if self.about is not None and not self.tolerance:
            raise ValueError("`about` needs a tolerance above 0")
        if self.between and self.between[0] > self.between[1]:
            raise ValueError("between: [low, high], the lower first")
        needs_against = ("compare", "against_metric", "non_inferior", "equivalent", "gain", "comparable", "keeps")
        lonely = next((name for name in needs_against if getattr(self, name) and not self.against), None)
        if lonely:
            raise ValueError(f"`{lonely}` needs `against`")
        if (self.non_inferior or self.equivalent) and self.compare in ("ratio", "saving"):
            raise ValueError("a margin is one of a difference")
        if any(control.shown_by for control in self.controls):
            raise ValueError("only the controls of a condition with `shown_by` are shown by a test")
        return self

    @property
    def rules(self) -> list[str]:
        return [name for name in RULES if getattr(self, name) is not None]

    def region(self) -> tuple[float, float]:
        """Return the range that the quantity must lie in, tolerance included."""
        inf = float("inf")
        margin = self.non_inferior or self.equivalent
        if margin:
            low, high = -margin, inf if self.non_inferior else margin
        elif self.about is not None:
            low = high = self.about
        else:
            low, high = self.between or (
                -inf if self.at_least is None else self.at_least,
                inf if self.at_most is None else self.at_most,
            )
        return low - self.tolerance, high + self.tolerance


class Claim(Entry):
    """A sentence of a paper and the conditions under which measured numbers reproduce it."""

    name: Name
    text: str = Field(min_length=1)
    """The paper's words, verbatim and short."""
    verbatim: Flag = True
    """False: not a quotation, and printed without quotation marks."""
    paper: str = Field(min_length=1)
    where: str = ""
    """Abstract, table, figure."""
    other_paper: Flag = False
    """Of a paper that the suite only borrows from; listed after the others."""
    kind: Kind = "sampled"
    published: Published | None = None
    """The row of ``published/`` that states it; its source is given in the note."""
    need: Literal["all", "any"] = "all"
    """any: for claims with "up to"."""
    scales: Scales = ()
    """Scales at which the claim can be decided; at others it is not run. Empty: all."""
    scales_reason: str = ""
    """Why not at the others."""
    by_construction: str = ""
    """Why all of its conditions hold by construction."""
    not_testable: str = ""
    """Why there is no fair rule."""
    conditions: tuple[Condition, ...] = ()
    reconstructed: Flag | None = None
    note: str = ""

    @model_validator(mode="after")
    def _testable(self) -> Claim:
        if (self.kind == "not testable") != bool(self.not_testable):
            raise ValueError("`kind: not testable` and `not_testable: reason` belong together")
        if not self.conditions and not self.not_testable:
            raise ValueError("needs conditions, or says why it is not testable")
        return self

    def whole(self, condition: Condition) -> Condition:
        """Return the condition with what it has from the claim."""
        scales = {} if condition.scales else {"scales": self.scales, "scales_reason": self.scales_reason}
        built = condition.by_construction or self.by_construction
        return condition.model_copy(update={"kind": condition.kind or self.kind, "by_construction": built, **scales})
