"""Published numbers, and tables that compare them with measured ones."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from paper_tables.schema.base import Entry, LevelNames, TableEntry, non_empty

Scales = Annotated[tuple[str, ...], BeforeValidator(lambda v: [v] if isinstance(v, str) else v)]
ArmSelector = dict[str, LevelNames]
"""One arm: `study` (default: this one), `part`, `arm` (its label) or axes; other axes are at their baseline."""


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


ArmSelectors = Annotated[tuple[ArmSelector, ...], BeforeValidator(_as_list)]
"""One or several selectors: the first with a value of the metric is used."""
Metrics = Annotated[tuple[str, ...], BeforeValidator(_as_list), AfterValidator(non_empty)]
"""One metric, or several names of it: the first with a value is used."""


class Published(Entry):
    """Which row of ``published/<file>.csv``: the first whose columns match (`*` allowed)."""

    file: str
    where: dict[str, str]
    comparable: bool = True
    why: str = ""
    factor: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Column -> factor that converts its number to our way of counting (FLOPs at two per MAC: 0.5)."""

    @model_validator(mode="after")
    def _reason(self) -> Published:
        if not self.comparable and not self.why:
            raise ValueError("says comparable: false, so `why` must name the difference")
        return self


class Incomparable(Entry):
    """Print published and measured numbers of these metrics in gray, with the reason as a note."""

    metrics: Metrics
    why: str = Field(min_length=1)
    scales: Scales = ()
    """Only if our numbers were measured at one of these scales; empty: at any scale."""


class ComparisonColumn(Entry):
    """A text column (`text`), or up to four columns of numbers under one head."""

    text: str | None = None
    """The row's own `words`, else this column of the published row (backbone, setting, ...)."""
    metric: Metrics | None = None
    published: str | None = None
    """Column of the published rows: params_m, gflops, throughput_img_s, speedup, top1, top5."""
    head: str = ""
    show: tuple[Literal["published", "measured", "difference", "percent"], ...] = (
        "published",
        "measured",
        "difference",
    )
    digits: int | None = Field(None, ge=0, le=6)
    spread: Literal["none", "sd", "ci"] = "none"
    interval: float = Field(0.95, gt=0, lt=1)
    factor: float = Field(1.0, gt=0)
    """Factor for the measured numbers (parameters in millions: 1e-6)."""
    best: Literal["none", "bold"] = "none"
    within: Literal["group", "table"] = "table"

    @model_validator(mode="after")
    def _one(self) -> ComparisonColumn:
        if self.text is not None:
            if self.metric is not None or self.published is not None:
                raise ValueError("`text` is a text column: no `metric`, no `published`")
            return self
        if self.metric is None and self.published is None:
            raise ValueError("needs `text`, `metric` or `published`")
        return self

    def parts(self) -> tuple[str, ...]:
        """Return the kinds of `show` that this column has data for."""
        have = {"published": self.published is not None, "measured": self.metric is not None}
        both = all(have.values())
        return tuple(kind for kind in self.show if have.get(kind, both))


class ComparisonRow(Entry):
    """One row: published, measured, or both; a dash for missing numbers."""

    label: str = ""
    """``{variant}`` and other columns of the published row are filled in."""
    group: str = ""
    """Starts a group with this title."""
    published: Published | None = None
    every: bool = False
    """One row for every published row that matches instead of for the first only."""
    measured: ArmSelectors = ()
    words: dict[str, str] = Field(default_factory=dict)
    reconstructed: bool | None = None
    """Default: whether the measured part is a reconstruction."""
    incomparable: tuple[Incomparable, ...] = ()

    @model_validator(mode="after")
    def _something(self) -> ComparisonRow:
        if self.published is None and not self.measured:
            raise ValueError("needs `published` or `measured`")
        if not self.label and self.published is None:
            raise ValueError("needs a `label`")
        if self.every and (self.measured or self.published is None):
            raise ValueError("every: true makes rows of published numbers only")
        return self


class SortBy(Entry):
    """Sort the rows of each group by a column; rows without a number come last."""

    by: str
    of: Literal["published", "measured"] = "published"
    descending: bool = False


class ComparisonTable(TableEntry):
    """Published and measured numbers side by side, one row per entry of `rows`."""

    method: str = "Method"
    """Head of the first column."""
    rows: Annotated[tuple[ComparisonRow, ...], AfterValidator(non_empty)]
    columns: Annotated[tuple[ComparisonColumn, ...], AfterValidator(non_empty)]
    sort: SortBy | None = None
    incomparable: tuple[Incomparable, ...] = ()
    notes: tuple[str, ...] = ("measured", "published")
    """`measured`: study, seeds and device; `published`: the sources; anything with a space: printed as it is."""
