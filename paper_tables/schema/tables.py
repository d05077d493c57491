"""What a table file may say about tables of arms."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from paper_tables.schema.base import Entry, Filter, TableEntry, non_empty
from paper_tables.schema.comparisons import Published

Show = Literal["mean", "mean_sd", "mean_ci", "paired_difference", "mcnemar"]


class ArmColumn(Entry):
    """One column: a measured metric, or the published number for it."""

    metric: str | None = None
    published: str | None = None
    head: str = ""
    """``{unit}`` in it is replaced by the unit. A head without it prints the metric unscaled."""
    over: str = ""
    show: Show = "mean"
    digits: int | None = Field(None, ge=0, le=6)
    interval: float = Field(0.95, gt=0, lt=1)
    mark: Literal["none", "holm"] = "none"
    best: Literal["none", "bold"] = "none"
    within: Literal["part", "table"] = "part"
    optional: bool = False
    """Left out if the frame has no such metric; otherwise a missing metric is an error."""

    @model_validator(mode="after")
    def _one(self) -> ArmColumn:
        if (self.metric is None) == (self.published is None):
            raise ValueError("needs either `metric` or `published`")
        if self.mark == "holm" and self.show not in ("paired_difference", "mcnemar"):
            raise ValueError("mark: holm goes with show: paired_difference or mcnemar")
        return self


class CrossedColumns(Entry):
    """One column per level of an axis, all of one metric."""

    axis: str
    metric: str
    show: Show = "mean_sd"
    digits: int | None = Field(None, ge=0, le=6)
    interval: float = Field(0.95, gt=0, lt=1)
    best: Literal["none", "bold"] = "none"


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


class ArmTable(TableEntry):
    """One table, written as .tex, .md, .html and .csv."""

    filter: Filter = Field(default_factory=dict)
    rows: ArmRows = ArmRows()
    columns: Annotated[
        Annotated[tuple[ArmColumn, ...], AfterValidator(non_empty), Tag("list")]
        | Annotated[CrossedColumns, Tag("crossing")],
        Discriminator(_kind),
    ]
    margins: Literal["none", "difference"] = "none"
    published: dict[str, Published] = Field(default_factory=dict)
    notes: tuple[str, ...] = ("seeds", "interval", "test", "protocol")

    @model_validator(mode="after")
    def _fits(self) -> ArmTable:
        crossed = isinstance(self.columns, CrossedColumns)
        if crossed != (self.rows.axis is not None):
            raise ValueError("rows: {axis: …} and columns: {axis: …} go together")
        if self.margins == "difference" and not crossed:
            raise ValueError("margins belong to a table of two axes")
        return self
