"""From a results frame to tables, figures and a report. Knows frames only: no models, no engine.

``build`` is the entry point. This module and ``site/render_cache.py`` import the standard library only, so that an
unchanged study returns at once: pandas, scipy and seaborn are imported only when something changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paper_tables.core.paths import is_own, rendered_with, table_file, table_file_of, table_files
from paper_tables.site.render_cache import RenderCache, read_record

__all__ = ["Built", "build", "is_own", "rendered_with", "summary", "table_file", "table_file_of", "table_files"]


@dataclass(frozen=True)
class Built:
    """Output files of a study's folder; `unchanged` if nothing had to be rendered."""

    tables: list[Path]
    figures: list[Path]
    report: Path
    unchanged: bool


def build(folder: Path, spec: Path | None = None, force: bool = False) -> Built:
    """Render every table, figure and the report of a study folder into it.

    `spec` is the table file; without one, `table_file_of` the folder, and without that a default table and figures.
    Raises `paper_tables.core.errors.TableError` with every error of the table file at once.
    """
    folder = Path(folder)
    manifest = RenderCache.of(folder, spec)
    outputs = None if force else manifest.cached_outputs()
    fresh = outputs is not None
    if outputs is None:
        from paper_tables.site.render import render

        outputs = manifest.write(render(folder, manifest.spec))
    return Built(
        tables=[folder / name for name in outputs if name.startswith("tables/")],
        figures=[folder / name for name in outputs if name.startswith("figures/")],
        report=folder / "report.html",
        unchanged=fresh,
    )


def summary(folder: Path, spec: Path | None = None) -> dict[str, Any]:
    """Return the tables of a study folder as they are printed, and its claims; nothing is written.

    Keys: `printed`, a list of tables (``formats/printed.py``); `claims` (``claims/table.py: summary``); `verdicts`, how
    many claims have which. Raises `TableError` as `build` does.
    """
    manifest = RenderCache.of(Path(folder), spec)
    if manifest.cached_outputs() is not None:
        about = read_record(Path(folder))["about"]
        return {key: about[key] for key in ("printed", "claims", "verdicts")}
    from paper_tables.site.study_tables import StudyTables

    return StudyTables.load(Path(folder), manifest.spec).summary()
