"""Rows of a benchmark as a CSV file, for results/bench."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path


def write_rows(file: Path | None, columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> None:
    """Write the rows, folders included; without a file nothing."""
    if file is None:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as f:
        writer = csv.DictWriter(f, columns)
        writer.writeheader()
        writer.writerows(rows)
