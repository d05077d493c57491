"""Which table file is a study's, and where the package keeps published numbers. Standard library only."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent.parent
PUBLISHED = PACKAGE / "published"
CLAIMS = "claims.yaml"
"""Next to the table files: claims by study."""
SUFFIX = ".tables.yaml"
RECORD = "tables/.rendered.json"
"""In a study's folder: what it was rendered from."""


def table_file(study: str, study_file: Path | None = None) -> Path | None:
    """Return a study's table file; None where there is none.

    The first of ``<study>.tables.yaml`` beside the study file; ``<study>.yaml`` in a folder ``paper_tables`` there,
    beside the study file's folder, or in the current folder; the package's. A label (``study@gpu``) is another scale
    of the same file.
    """
    return next(iter(table_files(study, study_file)), None)


def table_files(study: str, study_file: Path | None = None) -> list[Path]:
    """Return the files that `table_file` takes the first of: all that are there."""
    name = study.partition("@")[0]
    if not re.fullmatch(r"[\w.-]+", name):
        return []
    places = [Path("paper_tables").resolve(), PACKAGE]
    files: list[Path] = []
    if study_file is not None:
        folder = study_file.resolve().parent
        files.append(folder / f"{name}{SUFFIX}")
        beside = [parent / "paper_tables" for parent in (folder, folder.parent)]
        places = [*(place for place in beside if place != PACKAGE), *places]
    files += [place / f"{name}.yaml" for place in places]
    return [path for path in dict.fromkeys(files) if path.is_file() and path.name != CLAIMS]


def table_file_of(folder: Path, spec: Path | None = None) -> Path | None:
    """Return the table file that a study's folder is rendered with; None: the default tables.

    `spec`, else the one that the study's plan names, else a person's own that it was rendered with before, else
    `table_file`. FileNotFoundError where one of these is gone: its tables are not replaced by the default ones.
    """
    if spec is not None:
        return spec
    plan = _read(folder / "plan.json")
    for named in (plan.get("table_file"), rendered_with(folder)):
        if isinstance(named, str | Path) and str(named):
            if Path(named).is_file():
                return Path(named)
            raise FileNotFoundError(
                f"{folder.name} is rendered with {named}, which is gone: put it back, or name another with --spec "
                f"(without {folder / RECORD} and after another `studies run` the default tables are made)"
            )
    return table_file(str(plan.get("study") or folder.resolve().name))


def rendered_with(folder: Path) -> Path | None:
    """Return a person's own table file that a study's folder was rendered with; it may be gone."""
    named = _read(folder / RECORD).get("spec")
    return Path(named) if isinstance(named, str) and named else None


def is_own(spec: Path) -> bool:
    """Return whether a table file is a person's own, not the package's."""
    return spec.resolve().parent != PACKAGE


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(contents(path))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def contents(path: Path) -> bytes:
    """Return the bytes of a plain file; OSError without it, and for a pipe or a device, which may never end."""
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is no plain file")
    return path.read_bytes()
