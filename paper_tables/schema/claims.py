"""Claims: sentences of a paper, each with conditions on measured numbers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from paper_tables.schema.base import Entry, Name, non_empty
from paper_tables.schema.published import ArmSelectors, Metrics, Published, Scales


class Condition(Entry):
    """A quantity and its expected range. It holds if its whole interval is inside, fails if all of it is outside.

    The quantity is the metric of the arm `of`, or, with `against`, the comparison of the two, paired by seed:
    difference (of - against), ratio (of / against) or saving (100 * (1 - of / against), in per cent).
    """

    metric: Metrics
    of: ArmSelectors
    against: ArmSelectors = ()
    compare: Literal["difference", "ratio", "saving"] | None = None
    at_least: float | None = None
    at_most: float | None = None
    about: float | None = None
    between: tuple[float, float] | None = None
    tolerance: float = Field(0.0, ge=0)
    """Widens the range; required with `about`."""
    exact: bool | None = None
    """Deterministic: one trial decides. Default: parameters and multiply-accumulates."""
    interval: float = Field(0.95, gt=0, lt=1)
    digits: int | None = Field(None, ge=0, le=6)
    label: str = ""
    """Description of what is measured; default: built from the arms."""

    @model_validator(mode="after")
    def _rule(self) -> Condition:
        given = [n for n in ("at_least", "at_most", "about", "between") if getattr(self, n) is not None]
        if len(given) != 1:
            raise ValueError("needs exactly one of at_least, at_most, about, between")
        if self.about is not None and not self.tolerance:
            raise ValueError("`about` needs a tolerance above 0")
        if self.between and self.between[0] > self.between[1]:
            raise ValueError("between: [low, high], the lower first")
        if not self.of:
            raise ValueError("`of` names no arm")
        if self.compare and not self.against:
            raise ValueError("`compare` needs `against`")
        return self

    def region(self) -> tuple[float, float]:
        """Return the range that the quantity must lie in, tolerance included."""
        inf = float("inf")
        if self.about is not None:
            return self.about - self.tolerance, self.about + self.tolerance
        low, high = self.between or (
            -inf if self.at_least is None else self.at_least,
            inf if self.at_most is None else self.at_most,
        )
        return low - self.tolerance, high + self.tolerance


class Claim(Entry):
    """A sentence of a paper and the conditions under which measured numbers reproduce it."""

    name: Name
    text: str = Field(min_length=1)
    """Quoted from the paper where possible."""
    paper: str = Field(min_length=1)
    where: str = ""
    """Abstract, table, figure."""
    published: Published | None = None
    """The row of ``published/`` that states it; its source is given in the note."""
    need: Literal["all", "any"] = "all"
    """any: for claims with "up to"."""
    scales: Scales = ()
    """Scales at which the claim can be tested; at others it is not run. Empty: all."""
    conditions: Annotated[tuple[Condition, ...], AfterValidator(non_empty)]
    reconstructed: bool | None = None
    note: str = ""
