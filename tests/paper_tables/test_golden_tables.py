"""The written tables, byte for byte.

After a wanted change: UPDATE_GOLDEN=1 pytest tests/paper_tables, and read the diff.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import synthetic_frame

from paper_tables import crossing, listing, table_file
from paper_tables.names import Names
from paper_tables.reading import load
from paper_tables.spec import read
from paper_tables.write import write

GOLDEN = Path(__file__).parents[1] / "golden" / "paper_tables"


@pytest.mark.parametrize("name", ["redundancy", "recursion_by_slices", "stabilizer_by_pause", "against_the_papers"])
def test_as_before(name: str, tmp_path: Path) -> None:
    path = table_file("redundancy_ablation")
    assert path is not None
    spec, _ = read(path)
    table = next(t for t in spec.tables if t.name == name)
    names = Names(spec, load(synthetic_frame.study(tmp_path)))
    made = write((listing if table.rows.axis is None else crossing).build(table, names))
    for file, data in made.items():
        golden = GOLDEN / Path(file).name
        if os.environ.get("UPDATE_GOLDEN"):
            golden.parent.mkdir(parents=True, exist_ok=True)
            golden.write_bytes(data)
        assert data.decode() == golden.read_text(encoding="utf-8")
        assert data.decode().rstrip().removesuffix("-->").rstrip().endswith("git 4f2a9c1d0be7")
