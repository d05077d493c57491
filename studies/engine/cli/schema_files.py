"""The JSON Schemas of the files that people write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from studies.engine.core.files import write_atomic

SCHEMAS = ("study", "table")


def schema(kind: str) -> dict[str, Any]:
    """Return the schema of study or table files, from the study language, dynvit's description, the tables' models."""
    if kind == "study":
        from studies.engine.cli.study_schema import study_file_schema

        return study_file_schema()
    from paper_tables.schema.json_schema import table_file_schema

    return table_file_schema()


def write_schema(kind: str, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(file, json.dumps(schema(kind), ensure_ascii=False) + "\n")
