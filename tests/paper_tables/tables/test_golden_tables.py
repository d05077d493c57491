"""The written tables, byte for byte.

After a wanted change: UPDATE_GOLDEN=1 pytest tests/paper_tables, and read the diff.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import synthetic_frame

from paper_tables import table_file
from paper_tables.data.load import load_frame
from paper_tables.data.other_studies import StudyFrames
from paper_tables.formats.all import write
from paper_tables.schema.table_file import read_table_file
from paper_tables.tables.holm_family import HolmFamily, cells_of
from paper_tables.tables.labels import Names
from paper_tables.tables.table import build

GOLDEN = Path(__file__).parents[2] / "golden" / "paper_tables"


@pytest.mark.parametrize("name", ["redundancy", "recursion_by_slices", "stabilizer_by_pause", "against_the_papers"])
def test_as_before(name: str, tmp_path: Path) -> None:
    path = table_file("redundancy_ablation")
    assert path is not None
    spec, _ = read_table_file(path)
    names = Names(spec, load_frame(synthetic_frame.study(tmp_path)))
    grids = {t.name: build(t, names, StudyFrames(tmp_path, names.frame)) for t in spec.tables}
    HolmFamily(cells_of(grids.values())).mark(grids[name])
    made = write(grids[name])
    for file, data in made.items():
        golden = GOLDEN / Path(file).name
        if os.environ.get("UPDATE_GOLDEN"):
            golden.parent.mkdir(parents=True, exist_ok=True)
            golden.write_bytes(data)
        assert data.decode() == golden.read_text(encoding="utf-8")
        assert data.decode().rstrip().removesuffix("-->").rstrip().endswith("git 4f2a9c1d0be7")
