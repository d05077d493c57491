"""From a results frame to tables, figures and a report. Knows frames only: no models, no engine.

``build`` is the entry point. This module and ``site/render_cache.py`` import the standard library only, so that an
unchanged study returns at once: pandas, scipy and seaborn are imported only when something changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from paper_tables.core.paths import table_file
from paper_tables.site.render_cache import RenderCache

__all__ = ["Built", "build", "table_file"]


@dataclass(frozen=True)
class Built:
    """Output files of a study's folder; `unchanged` if nothing had to be rendered."""

    tables: list[Path]
    figures: list[Path]
    report: Path
    unchanged: bool


def build(folder: Path, spec: Path | None = None, force: bool = False) -> Built:
    """Render every table, figure and the report of a study folder into it.

    `spec` is the table file; without one, ``paper_tables/<study>.yaml``, and without that file a default
    table and figures. Raises `paper_tables.core.errors.TableError` with every error of the table file at once.
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
