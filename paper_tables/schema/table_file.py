"""A whole table file: labels, tables, figures, claims; read from YAML with a located error for every fault."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import Discriminator, Field, Tag, ValidationError

from paper_tables.core.errors import Fault, TableError, suggest
from paper_tables.core.paths import CLAIMS
from paper_tables.core.yaml_loader import Document, Key, load_yaml
from paper_tables.schema.base import Entry, Flag
from paper_tables.schema.claims import Claim
from paper_tables.schema.figures import Figure
from paper_tables.schema.messages import in_words
from paper_tables.schema.tables import ArmColumn, ArmTable, ComparisonTable, CountTable, CrossedColumns


class PartLabel(Entry):
    """Label of a part; `reconstructed` if its system has no official code."""

    label: str = ""
    reconstructed: Flag = False


class AxisLabel(Entry):
    """Labels of an axis and its levels; `bare` prints the level without the name of the axis."""

    label: str = ""
    levels: dict[str, str] = Field(default_factory=dict)
    bare: Flag = False


class MetricLabel(Entry):
    """Label of a metric in figures, its column head in tables, its unit."""

    label: str = ""
    head: str = ""
    unit: str | None = None


def _table_kind(table: Any) -> str:
    if isinstance(table, CountTable) or (isinstance(table, dict) and "verdicts" in table):
        return "verdicts"
    rows = table.get("rows") if isinstance(table, dict) else getattr(table, "rows", None)
    return "comparison" if isinstance(rows, list | tuple) else "table"


AnyTable = Annotated[
    Annotated[ArmTable, Tag("table")]
    | Annotated[ComparisonTable, Tag("comparison")]
    | Annotated[CountTable, Tag("verdicts")],
    Discriminator(_table_kind),
]
"""A list of rows makes a comparison, `verdicts` a table of counts; anything else is a table of arms."""


class Spec(Entry):
    """A whole table file."""

    study: str
    scales: dict[str, str] = Field(default_factory=dict)
    """What must be known of a scale, as of its images: a note of the tables with results at that scale."""
    parts: dict[str, PartLabel] = Field(default_factory=dict)
    axes: dict[str, AxisLabel] = Field(default_factory=dict)
    metrics: dict[str, MetricLabel] = Field(default_factory=dict)
    tables: tuple[AnyTable, ...] = ()
    figures: tuple[Figure, ...] = ()
    claims: tuple[Claim, ...] = ()


def read_table_file(path: Path, name: str | None = None) -> tuple[Spec, Document]:
    """Return the table file and the positions of its keys. Raises TableError with every error of its form."""
    document = load_yaml(path, name)
    if not isinstance(document.data, dict):
        raise TableError(
            [Fault(document.file, 1, 1, "", "a table file is a mapping with `study`, `tables`, `figures`")]
        )
    _include_claims(document, path)
    try:
        return Spec.model_validate(document.data), document
    except ValidationError as error:
        raise TableError([_to_fault(document, dict(e)) for e in error.errors()]) from error


def is_table_file(path: Path) -> bool:
    """Return whether a YAML file is a table file, as far as its keys tell: a study's or a cluster's is none."""
    try:
        found = load_yaml(path).data
    except TableError:
        return False
    return isinstance(found, dict) and "task" not in found and not {"tables", "figures", "claims"}.isdisjoint(found)


def _include_claims(document: Document, path: Path) -> None:
    """Take the claims from claims.yaml next to the table file, by study, unless the table file has its own."""
    file, study = path.with_name(CLAIMS), str(document.data.get("study", ""))
    if not file.is_file() or "claims" in document.data:
        return
    try:
        contents = file.read_bytes()
    except OSError:
        contents = b""  # the loader says why
    claims = _claims_document(file, str(Path(document.file).with_name(CLAIMS)), contents)
    if isinstance(claims.data, dict) and study in claims.data:
        document.include("claims", claims, study)


@lru_cache(maxsize=4)
def _claims_document(file: Path, name: str, contents: bytes) -> Document:
    """Load claims.yaml once for all table files beside it: to parse it takes longer than all else in `plan`."""
    return load_yaml(file, name)


def _to_fault(document: Document, error: dict[str, Any]) -> Fault:
    key = _key_path(error["loc"], document.data)
    if error["type"] == "extra_forbidden":
        message = "unknown key" + suggest(str(key[-1]), _keys_at(error["loc"][:-1]))
    elif error["type"] == "missing":
        message = "is missing"
    else:
        message = in_words(error)
    if str(error["type"]).startswith("union_tag"):
        key = (*key, "kind")
    return document.fault(key, message)


def _key_path(loc: tuple[str | int, ...], data: Any) -> Key:
    """Return pydantic's location without the names of union members, which are not keys of the file."""
    key: list[str | int] = []
    for i, step in enumerate(loc):
        if step in data if isinstance(data, dict) else isinstance(step, int) and isinstance(data, list):
            data = data[step] if isinstance(data, dict) or int(step) < len(data) else None  # a list may be too short
        elif i < len(loc) - 1 or not isinstance(data, dict) or step in _TAGS:
            continue
        key.append(step)
    return tuple(key)


_TAGS = ("list", "crossing", "table", "comparison", "verdicts")


_KINDS: dict[str | int, type[Entry]] = {
    "table": ArmTable, "comparison": ComparisonTable, "verdicts": CountTable, "list": ArmColumn,
    "crossing": CrossedColumns,
    **{get_args(kind.model_fields["kind"].annotation)[-1]: kind for kind in get_args(get_args(Figure)[0])},
}  # fmt: skip
"""Name of a union's member in pydantic's locations -> its class."""


def _keys_at(loc: tuple[str | int, ...]) -> list[str]:
    """Return the keys that the entry at pydantic's location may have."""
    entries: list[type[Entry]] = [Spec]
    for step in loc:
        below = [
            e for entry in entries for e in _entries(getattr(entry.model_fields.get(str(step)), "annotation", None))
        ]
        entries = below or ([_KINDS[step]] if _KINDS.get(step) in entries else entries)
    return [name for entry in entries for name in entry.model_fields]


def _entries(annotation: Any) -> list[type[Entry]]:
    """Return the classes of entries in a type."""
    if isinstance(annotation, type) and issubclass(annotation, Entry):
        return [annotation]
    return [entry for inner in get_args(annotation) for entry in _entries(inner)]
