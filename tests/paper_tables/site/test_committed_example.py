"""The committed example is what the code makes of the committed frame. After a wanted change:
``python -m paper_tables all --results results/example``."""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.parse import quote

import pytest
from fast_drawing import svg_alone

from paper_tables import build

EXAMPLE = Path(__file__).parents[3] / "results" / "example"
FRAME = ("trials.parquet", "trials.csv", "curves.parquet", "predictions.npz", "decisions.json")


@pytest.mark.parametrize("folder", sorted(path.parent for path in EXAMPLE.glob("*/trials.csv")), ids=lambda f: f.name)
def test_tables_as_committed(folder: Path, tmp_path: Path) -> None:
    for other in EXAMPLE.iterdir():  # a table may draw on another study's frame
        for name in FRAME if other.is_dir() else ():
            if (other / name).is_file():
                (tmp_path / other.name).mkdir(exist_ok=True)
                shutil.copy(other / name, tmp_path / other.name)
    if (folder / "maps").is_dir():
        shutil.copytree(folder / "maps", tmp_path / folder.name / "maps")
    with svg_alone():
        build(tmp_path / folder.name)
    made = {f.name: f.read_bytes() for f in (tmp_path / folder.name / "tables").glob("[!.]*")}
    kept = {f.name: f.read_bytes() for f in (folder / "tables").glob("[!.]*")}
    assert made.keys() == kept.keys()
    assert [name for name in made if made[name] != kept[name]] == []
    drawn, shown = ({f.name for f in (place / "figures").glob("*.svg")} for place in (tmp_path / folder.name, folder))
    assert drawn == shown
    assert (tmp_path / folder.name / "origins.csv").read_bytes() == (folder / "origins.csv").read_bytes()


def test_every_committed_example_is_in_the_index() -> None:
    index = (EXAMPLE / "index.html").read_text(encoding="utf-8")
    for folder in EXAMPLE.glob("*/trials.csv"):
        assert f'href="{quote(folder.parent.name)}/report.html"' in index
        assert folder.with_name("report.html").is_file()
