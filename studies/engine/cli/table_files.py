"""Which table file a study is rendered with, decided when it is run and kept in its plan."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from studies.engine.cli.options import UsageError
from studies.engine.cli.text import near
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


def unread_lines(study: Study) -> Iterator[str]:
    """Yield which of a person's own table files is not read, as another one comes first."""
    from paper_tables import is_own, table_files

    used = find_table_file(study)
    for other in table_files(study.name, study.file):
        if used is not None and is_own(other) and other.resolve() != used.resolve():
            yield f"{'tables':10}{near(used)} is read, not {near(other)}: keep one, or name it in the study's `tables:`"
