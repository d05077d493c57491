"""What a table file may say. Names of parts, axes and metrics are checked against the frame in ``check``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, Discriminator, Field, Tag, ValidationError, model_validator

from paper_tables.core.errors import Fault, TableError, nearest
from paper_tables.core.yaml_loader import Document, Key, load
from paper_tables.schema.claims import Claim, Condition
from paper_tables.schema.comparisons import ComparedColumn, ComparedRow, Comparison, Incomparable, Published, Sorting
from paper_tables.schema.figures import Entry, Figure, Filter, Name, Panel, some
from paper_tables.schema.published_counts import Verdicts
from paper_tables.site.render_cache import CLAIMS

Show = Literal["mean", "mean_sd", "mean_ci", "paired_difference", "mcnemar"]


class PartName(Entry):
    """How a part is called; `reconstructed` where its system has no official code."""

    label: str = ""
    reconstructed: bool = False


class AxisName(Entry):
    """How an axis and its levels are called; `bare` where the levels say enough without the axis's name."""

    label: str = ""
    levels: dict[str, str] = Field(default_factory=dict)
    bare: bool = False


class MetricName(Entry):
    """How a metric is called: in figures, at the head of a column, its unit."""

    label: str = ""
    head: str = ""
    unit: str | None = None


class Column(Entry):
    """One column: a metric of ours, or the papers' number for it."""

    metric: str | None = None
    published: str | None = None
    head: str = ""
    """``{unit}`` in it stands for the unit; a head without it takes the metric as it is, unscaled."""
    over: str = ""
    show: Show = "mean"
    digits: int | None = Field(None, ge=0, le=6)
    interval: float = Field(0.95, gt=0, lt=1)
    mark: Literal["none", "holm"] = "none"
    best: Literal["none", "bold"] = "none"
    within: Literal["part", "table"] = "part"
    optional: bool = False
    """Left out where the frame has no such metric; otherwise that is a fault."""

    @model_validator(mode="after")
    def _one(self) -> Column:
        if (self.metric is None) == (self.published is None):
            raise ValueError("needs either `metric` or `published`")
        if self.mark == "holm" and self.show not in ("paired_difference", "mcnemar"):
            raise ValueError("mark: holm goes with show: paired_difference or mcnemar")
        return self


class Crossing(Entry):
    """Columns that are the levels of an axis, all of one metric."""

    axis: str
    metric: str
    show: Show = "mean_sd"
    digits: int | None = Field(None, ge=0, le=6)
    interval: float = Field(0.95, gt=0, lt=1)
    best: Literal["none", "bold"] = "none"


class Rows(Entry):
    """Which arms stand in the rows: a list of arms, or the levels of an axis."""

    axis: str | None = None
    block: Literal["one_at_a_time"] | None = None
    arms: Literal["all", "baseline"] = "all"
    group: tuple[Literal["part", "axis"], ...] = ()
    item: Literal["level", "arm", "part", "name"] = "arm"
    """name: the levels alone, for arms that are named by them."""
    baseline: Literal["first", "none"] = "first"

    @model_validator(mode="after")
    def _alone(self) -> Rows:
        if self.axis is not None and self.model_fields_set - {"axis"}:
            raise ValueError("with `axis` the rows are its levels, nothing else can be said")
        if self.item == "level" and self.block != "one_at_a_time":
            raise ValueError("item: level needs block: one_at_a_time")
        return self


def _kind(columns: Any) -> str:
    return "crossing" if isinstance(columns, dict | Crossing) else "list"


class Table(Entry):
    """One table, written as .tex, .md, .html and .csv."""

    name: Name
    label: str = Field("", pattern=r"^[A-Za-z0-9:._-]*$")
    caption: str = ""
    width: Literal["auto", "one", "two"] = "auto"
    """Columns of a two-column paper it stands in; auto: two where it does not fit one."""
    filter: Filter = Field(default_factory=dict)
    rows: Rows = Rows()
    columns: Annotated[
        Annotated[tuple[Column, ...], AfterValidator(some), Tag("list")] | Annotated[Crossing, Tag("crossing")],
        Discriminator(_kind),
    ]
    margins: Literal["none", "difference"] = "none"
    published: dict[str, Published] = Field(default_factory=dict)
    notes: tuple[str, ...] = ("seeds", "interval", "test", "protocol")

    @model_validator(mode="after")
    def _fits(self) -> Table:
        crossed = isinstance(self.columns, Crossing)
        if crossed != (self.rows.axis is not None):
            raise ValueError("rows: {axis: …} and columns: {axis: …} go together")
        if self.margins == "difference" and not crossed:
            raise ValueError("margins belong to a table of two axes")
        return self


def _form(table: Any) -> str:
    if isinstance(table, Verdicts) or (isinstance(table, dict) and "verdicts" in table):
        return "verdicts"
    rows = table.get("rows") if isinstance(table, dict) else getattr(table, "rows", None)
    return "comparison" if isinstance(rows, list | tuple) else "table"


AnyTable = Annotated[
    Annotated[Table, Tag("table")] | Annotated[Comparison, Tag("comparison")] | Annotated[Verdicts, Tag("verdicts")],
    Discriminator(_form),
]
"""A list of rows makes a comparison, the name of a group of counts a table of verdicts."""


class Spec(Entry):
    """A whole table file."""

    study: str
    parts: dict[str, PartName] = Field(default_factory=dict)
    axes: dict[str, AxisName] = Field(default_factory=dict)
    metrics: dict[str, MetricName] = Field(default_factory=dict)
    tables: tuple[AnyTable, ...] = ()
    figures: tuple[Figure, ...] = ()
    claims: tuple[Claim, ...] = ()


def read(path: Path, name: str | None = None) -> tuple[Spec, Document]:
    """The table file and the places of its keys; raises TableError with every fault of its form."""
    document = load(path, name)
    if not isinstance(document.data, dict):
        raise TableError(
            [Fault(document.file, 1, 1, "", "a table file is a mapping with `study`, `tables`, `figures`")]
        )
    _borrow_claims(document, path)
    try:
        return Spec.model_validate(document.data), document
    except ValidationError as error:
        raise TableError([_fault(document, dict(e)) for e in error.errors()]) from error


def _borrow_claims(document: Document, path: Path) -> None:
    """Claims may stand in the table file or, by study, in claims.yaml beside it."""
    file, study = path.with_name(CLAIMS), str(document.data.get("study", ""))
    if not file.is_file() or "claims" in document.data:
        return
    claims = load(file, str(Path(document.file).with_name(CLAIMS)))
    if isinstance(claims.data, dict) and study in claims.data:
        document.borrow("claims", claims, study)


def _fault(document: Document, error: dict[str, Any]) -> Fault:
    key = _key(error["loc"], document.data)
    if error["type"] == "extra_forbidden":
        message = "unknown key" + nearest(str(key[-1]), _KEYS)
    elif error["type"] == "missing":
        message = "is missing"
    else:
        message = str(error["msg"]).removeprefix("Value error, ")
        message = message[:1].lower() + message[1:]
    return document.fault(key, message)


def _key(loc: tuple[str | int, ...], data: Any) -> Key:
    """pydantic's location without the names of union members, which do not stand in the file."""
    key: list[str | int] = []
    for i, step in enumerate(loc):
        inside = step in data if isinstance(data, dict) else isinstance(step, int) and isinstance(data, list)
        if inside:
            data = data[step]
        elif i < len(loc) - 1 or not isinstance(data, dict) or step in _TAGS:
            continue
        key.append(step)
    return tuple(key)


_TAGS = ("list", "crossing", "table", "comparison", "verdicts")


def _keys() -> list[str]:
    models: list[type[BaseModel]] = [PartName, AxisName, MetricName, Published, Column, Crossing, Rows, Table, Panel]
    models += [Spec, Verdicts, Comparison, ComparedRow, ComparedColumn, Sorting, Incomparable, Claim, Condition]
    models += list(get_args(get_args(Figure)[0]))
    return list(dict.fromkeys(name for model in models for name in model.model_fields))


_KEYS = _keys()
