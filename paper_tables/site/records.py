"""The rendered studies of a results folder, from what each rendering recorded. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paper_tables.site import render_cache
from paper_tables.site.render_cache import FRAMES


@dataclass(frozen=True)
class StudyRecord:
    """A rendered study: the name of its folder and its summary."""

    folder: str
    about: dict[str, Any]


def folders(results: Path) -> list[Path]:
    """Return the folders below `results` that contain a frame."""
    found = {path.parent for file in FRAMES[:2] for path in results.glob(f"*/{file}")}
    return sorted(found)


def studies_in(results: Path) -> list[StudyRecord]:
    """Return the rendered studies: those with claims first, those with a single table last."""
    found = []
    for folder in folders(results):
        record = render_cache.read_record(folder)
        if record.get("about"):
            found.append(StudyRecord(folder.name, record["about"]))
    return sorted(found, key=lambda s: (not s.about["claims"], len(s.about["tables"]) < 2, s.folder))
