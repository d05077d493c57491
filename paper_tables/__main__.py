"""``python -m paper_tables STUDY``: render a study's tables, figures and report from its frame."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from paper_tables import build


def main(arguments: list[str] | None = None) -> int:
    """Exit codes: 0 rendered, 2 the table file, the results or the arguments are wrong."""
    parser = argparse.ArgumentParser(prog="paper_tables", description=__doc__)
    parser.add_argument("study", metavar="STUDY", help="a study's name, or a folder with trials.parquet or trials.csv")
    parser.add_argument("--results", type=Path, default=Path("results"), help="where studies stand (default: results)")
    parser.add_argument("--spec", type=Path, help="table file (default: paper_tables/<study>.yaml)")
    parser.add_argument("--force", action="store_true", help="render again although nothing has changed")
    given = parser.parse_args(arguments)
    try:
        built = build(_folder(given.study, given.results), given.spec, given.force)
    except (ValueError, OSError) as error:  # TableError is a ValueError
        print(error, file=sys.stderr)
        return 2
    for head, files in (("tables", built.tables), ("figures", built.figures), ("report", [built.report])):
        first = [file for file in files if file.suffix in (".tex", ".pdf") or head == "report"]
        if first:
            print(f"{head:9} {', '.join(os.path.relpath(file) for file in first)}")
    if built.unchanged:
        print("unchanged")
    return 0


def _folder(study: str, results: Path) -> Path:
    """`redundancy_ablation` below the results folder, or a path to a folder."""
    if (results / study).is_dir() or not Path(study).is_dir():
        return results / study
    return Path(study)


if __name__ == "__main__":
    sys.exit(main())
