"""The keys of study files and table files, read from the classes that check them: types, defaults, docstrings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe
from option_text import table

ROOT = Path(__file__).resolve().parents[2]
HEADS = ("key", "type", "default", "meaning")
TABLE_FILE_MARK = "\n## Every key\n\n<!-- generate: table_file -->\n"
STUDY = {
    "studies.engine.study.schema": {
        "StudyFile": "The file", "AxisSpec": "An axis", "BlockSpec": "A block of a design", "PartSpec": "A part",
        "ScaleSpec": "A scale", "ScalePartSpec": "A part at a scale", "LevelsSpec": "An axis at a scale",
    },
    "studies.engine.study.parts": {"Metric": "A metric"},
    "studies.engine.study.decide": {"Decide": "decide"},
    "studies.engine.core.trial": {"Resources": "resources"},
}  # fmt: skip
TABLES = [f"paper_tables.schema.{module}" for module in ("table_file", "tables", "published", "claims", "figures")]


def study_file() -> str:
    """Return a section for each form of entry in a study file."""
    return "\n".join(
        _section(title, _load(module)[name]) for module, names in STUDY.items() for name, title in names.items()
    )


def table_file() -> str:
    """Return a section for each entry of a table file: tables, columns, rows, claims, figures."""
    return "\n".join(
        _section(found.name, found, "###")
        for module in TABLES
        for found in _load(module).classes.values()
        if not found.is_alias and list(_fields(found))
    )


def _load(module: str) -> Any:
    return griffe.load(module, search_paths=[str(ROOT)], allow_inspection=False)


def _section(title: str, found: Any, level: str = "##") -> str:
    rows = [(f"`{key}`", f"`{kind}`", f"`{default}`" if default else "required", text)
            for key, kind, default, text in _fields(found)]  # fmt: skip
    text = " ".join(found.docstring.value.split()) if found.docstring else ""
    return "\n".join([f"{level} {title}", "", _code_marks(text), "", table(HEADS, rows), ""])


def _fields(found: Any) -> Iterator[tuple[str, str, str, str]]:
    """Yield key, type, default and meaning of the fields of a class and of the classes it is derived from."""
    own = [base for base in reversed(found.mro()) if base.name not in ("Entry", "BaseModel")]
    fields = {name: field for one in (*own, found) for name, field in one.attributes.items()}
    constants = {name: str(field.value) for name, field in fields.items() if "instance-attribute" not in field.labels}
    for name, field in fields.items():
        annotation = str(field.annotation or "")
        if not annotation or name in constants:  # a ClassVar is no key
            continue
        default = str(field.value) if field.value is not None else ""
        renamed = re.search(r"'key': '(\w+)'", default.replace('"', "'"))
        text = " ".join(field.docstring.value.split()) if field.docstring else ""
        yield (
            (renamed[1] if renamed else name),
            _kind(annotation),
            _default(constants.get(default, default)),
            _code_marks(text),
        )


def _kind(annotation: str) -> str:
    """Return the type without what validates it: ``Annotated[int | None, Field(ge=0)]`` -> ``int | None``."""
    if not annotation.startswith("Annotated["):
        return annotation
    depth, inner = 0, annotation.removeprefix("Annotated[")
    for i, letter in enumerate(inner):
        depth += (letter in "[(") - (letter in "])")
        if letter == "," and depth == 0:
            return _kind(inner[:i])
    return annotation


def _default(value: str) -> str:
    """Return the default that ``field(...)`` or ``Field(...)`` gives; empty where a value is required."""
    called = re.match(r"[fF]ield\((.*)\)$", value, re.S)
    if not called:
        return value
    inner = called[1]
    if factory := re.search(r"default_factory=(\w+)", inner):
        return {"dict": "{}", "list": "[]", "tuple": "()"}.get(factory[1], f"{factory[1]}()")
    first = re.sub(r"^default=", "", inner.split(",")[0].strip())
    return "" if re.match(r"\w+=", first) else first


def _code_marks(text: str) -> str:
    return text.replace("``", "`")
