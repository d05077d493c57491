"""``python -m paper_tables STUDY``: render a study's tables, figures and report from its frame; ``all``: every study's,
and one paper.tex, index.html and list of claims for all of them."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from paper_tables import Built, build
from paper_tables.site.index import write_index
from paper_tables.site.records import folders


def main(arguments: list[str] | None = None) -> int:
    """Return the exit code: 0 rendered, 2 error in the table file, the results or the arguments."""
    parser = argparse.ArgumentParser(prog="paper_tables", description=__doc__)
    parser.add_argument("study", metavar="STUDY", help="a study's name, a folder with trials.parquet or .csv, or: all")
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="folder of all studies (default: results)"
    )
    parser.add_argument("--spec", type=Path, help="table file (default: paper_tables/<study>.yaml)")
    parser.add_argument("--force", action="store_true", help="render again although nothing has changed")
    given = parser.parse_args(arguments)
    try:
        if given.study == "all" and not (given.results / "all").is_dir():
            return _all(given.results, given.spec, given.force)
        _print_outputs(build(_folder(given.study, given.results), given.spec, given.force))
    except (ValueError, OSError) as error:  # TableError is a ValueError
        print(error, file=sys.stderr)
        return 2
    return 0


def _all(results: Path, spec: Path | None, force: bool) -> int:
    """Render every study; errors are printed after the name of the study."""
    found = folders(results)
    if spec is not None:
        raise ValueError("--spec belongs to one study")
    if not found:
        raise ValueError(f"{results}: no results here (no folder with trials.parquet or trials.csv)")
    wrong, width = 0, max(28, *(len(folder.name) for folder in found))
    for folder in found:
        try:
            built = build(folder, None, force)
        except (ValueError, OSError) as error:
            wrong += 1
            print(f"{folder.name}: {error}", file=sys.stderr)
            continue
        tables, figures = (len({file.stem for file in files}) for files in (built.tables, built.figures))
        summary = "unchanged" if built.unchanged else f"{tables} tables, {figures} figures"
        print(f"{folder.name:{width}} {summary}")
    for file in write_index(results):
        print(os.path.relpath(file))
    return 2 if wrong else 0


def _print_outputs(built: Built) -> None:
    for head, files in (("tables", built.tables), ("figures", built.figures), ("report", [built.report])):
        first = [file for file in files if file.suffix in (".tex", ".pdf") or head == "report"]
        if first:
            print(f"{head:9} {', '.join(os.path.relpath(file) for file in first)}")
    if built.unchanged:
        print("unchanged")


def _folder(study: str, results: Path) -> Path:
    """Return the folder of a study given by name (below the results folder) or by path."""
    if (results / study).is_dir() or not Path(study).is_dir():
        return results / study
    return Path(study)


if __name__ == "__main__":
    sys.exit(main())
