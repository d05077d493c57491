"""Which table file a study is rendered with, decided when it is run and kept in its plan."""

from __future__ import annotations

from pathlib import Path

from studies.engine.cli.options import UsageError
from studies.engine.study.model import Study


def find_table_file(study: Study, spec: Path | None = None) -> Path | None:
    """Return the table file: `spec`, the one that the study names, one beside it, or the package's.

    UsageError where `spec` is not there; the study's own `tables:` was checked with the file.
    """
    from paper_tables import table_file

    if spec is not None:
        if not spec.is_file():
            raise UsageError(f"{spec}: no such file")
        return spec
    return study.tables or table_file(study.name, study.file)


def named_table_file(study: Study, spec: Path | None = None) -> str:
    """Return what plan.json records: the path of a person's own table file; empty for the package's or none."""
    from paper_tables import is_own

    found = find_table_file(study, spec)
    return str(found.resolve()) if found is not None and is_own(found) else ""
