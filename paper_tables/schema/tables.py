"""What a table file may say about tables: of arms, of published and measured numbers, of counts."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from paper_tables.schema.base import Entry, Filter, Flag, Name, Number, Whole, non_empty
from paper_tables.schema.published import ArmSelectors, Incomparable, Metrics, Published

Show = Literal["mean", "mean_sd", "mean_ci", "paired_difference", "mcnemar"]


class TableEntry(Entry):
    """Keys of all tables. `width` in columns of a two-column paper; auto: two if the table does not fit one."""

    known_notes: ClassVar[tuple[str, ...]] = ()
    """Notes that the table writes itself; anything with a space is printed as it is."""
    name: Name
    label: str = Field("", pattern=r"^[A-Za-z0-9:._-]*$")
    caption: str = ""
    notes: tuple[str, ...] = ()


class SizedEntry(TableEntry):
    """A table whose width may be chosen."""

    width: Literal["auto", "one", "two"] = "auto"


class Column(Entry):
    """Keys of all columns of numbers."""

    digits: Annotated[Whole | None, Field(ge=0, le=6)] = None
    interval: Annotated[Number, Field(gt=0, lt=1)] = 0.95
    best: Literal["none", "bold"] = "none"


class ArmColumn(Column):
    """One column: a measured metric, or the published number for it."""

    metric: str | None = None
    published: str | None = None
    head: str = ""
    """``{unit}`` in it is replaced by the unit. A head without it prints the metric unscaled."""
    over: str = ""
    show: Show = "mean"
    mark: Literal["none", "holm"] = "none"
    within: Literal["part", "table"] = "part"
    optional: Flag = False
    """Left out if no arm of the table has a value of the metric; otherwise a missing metric is an error."""

    @model_validator(mode="after")
    def _one(self) -> ArmColumn:
        if (self.metric is None) == (self.published is None):
            raise ValueError("needs either `metric` or `published`")
        if self.mark == "holm" and self.show not in ("paired_difference", "mcnemar"):
            raise ValueError("mark: holm goes with show: paired_difference or mcnemar")
        return self


class CrossedColumns(Column):
    """One column per level of an axis, all of one metric."""

    axis: str
    metric: str
    show: Show = "mean_sd"


class ArmRows(Entry):
    """Rows of a table: a list of arms, or the levels of an axis."""

    axis: str | None = None
    block: Literal["one_at_a_time"] | None = None
    arms: Literal["all", "baseline"] = "all"
    group: tuple[Literal["part", "axis"], ...] = ()
    item: Literal["level", "arm", "part", "name"] = "arm"
    """name: the levels only, for arms that are named by them."""
    baseline: Literal["first", "none"] = "first"

    @model_validator(mode="after")
    def _alone(self) -> ArmRows:
        if self.axis is not None and self.model_fields_set - {"axis"}:
            raise ValueError("with `axis` the rows are its levels, no other key is allowed")
        if self.item == "level" and self.block != "one_at_a_time":
            raise ValueError("item: level needs block: one_at_a_time")
        return self


def _kind(columns: Any) -> str:
    return "crossing" if isinstance(columns, dict | CrossedColumns) else "list"


class ArmTable(SizedEntry):
    """A table whose rows are arms or the levels of an axis."""

    known_notes: ClassVar[tuple[str, ...]] = ("seeds", "interval", "test", "protocol")
    filter: Filter = Field(default_factory=dict)
    rows: ArmRows = ArmRows()
    columns: Annotated[
        Annotated[tuple[ArmColumn, ...], AfterValidator(non_empty), Tag("list")]
        | Annotated[CrossedColumns, Tag("crossing")],
        Discriminator(_kind),
    ]
    margins: Literal["none", "difference"] = "none"
    published: dict[str, Published] = Field(default_factory=dict)
    notes: tuple[str, ...] = known_notes

    @model_validator(mode="after")
    def _fits(self) -> ArmTable:
        crossed = isinstance(self.columns, CrossedColumns)
        if crossed != (self.rows.axis is not None):
            raise ValueError("rows: {axis: …} and columns: {axis: …} go together")
        if self.margins == "difference" and not crossed:
            raise ValueError("margins belong to a table of two axes")
        return self


class ComparisonColumn(Column):
    """A text column (`text`), or up to four columns of numbers under one head."""

    text: str | None = None
    """The row's own `words`, else this column of the published row (backbone, setting, ...)."""
    metric: Metrics | None = None
    published: str | None = None
    """Column of the published rows: params_m, gflops, throughput_img_s, speedup, top1, top5."""
    head: str = ""
    show: tuple[Literal["published", "measured", "difference", "percent"], ...] = (
        "published", "measured", "difference",
    )  # fmt: skip
    spread: Literal["none", "sd", "ci"] = "none"
    factor: Number = Field(1.0, gt=0)
    """Factor for the measured numbers (parameters in millions: 1e-6)."""
    within: Literal["group", "table"] = "table"

    @model_validator(mode="after")
    def _one(self) -> ComparisonColumn:
        numbers = self.metric is not None or self.published is not None
        if self.text is not None and numbers:
            raise ValueError("`text` is a text column: no `metric`, no `published`")
        if self.text is None and not numbers:
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
    every: Flag = False
    """One row for every published row that matches instead of for the first only."""
    measured: ArmSelectors = ()
    words: dict[str, str] = Field(default_factory=dict)
    reconstructed: Flag | None = None
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
    descending: Flag = False


class ComparisonTable(SizedEntry):
    """Published and measured numbers side by side, one row per entry of `rows`."""

    known_notes: ClassVar[tuple[str, ...]] = ("measured", "published")
    method: str = "Method"
    """Head of the first column."""
    rows: Annotated[tuple[ComparisonRow, ...], AfterValidator(non_empty)]
    columns: Annotated[tuple[ComparisonColumn, ...], AfterValidator(non_empty)]
    sort: SortBy | None = None
    incomparable: tuple[Incomparable, ...] = ()
    notes: tuple[str, ...] = known_notes
    """`measured`: study, seeds and device; `published`: the sources."""


class CountTable(TableEntry):
    """Published parameters and multiply-accumulates next to measured ones, each pair with a verdict."""

    verdicts: str
    """Group in ``published/counted.csv``."""
