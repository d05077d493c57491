"""A whole table file: labels, tables, figures, claims; read from YAML with a located error for every fault."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import BaseModel, Discriminator, Field, Tag, ValidationError

from paper_tables.core.errors import Fault, TableError, nearest
from paper_tables.core.paths import CLAIMS
from paper_tables.core.yaml_loader import Document, Key, load
from paper_tables.schema.base import Entry
from paper_tables.schema.claims import Claim, Condition
from paper_tables.schema.comparisons import ComparedColumn, ComparedRow, Comparison, Incomparable, Published, Sorting
from paper_tables.schema.figures import Figure, Panel
from paper_tables.schema.published_counts import Verdicts
from paper_tables.schema.tables import Column, Crossing, Rows, Table


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
