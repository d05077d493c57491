"""What must be known of a scale's data stands under its tables, and under those of no other scale."""

from __future__ import annotations

from pathlib import Path

import synthetic_frame
import yaml

from paper_tables import build
from paper_tables.data.load import load_frame

ROOT = Path(__file__).parents[3]
SPEC = {
    "study": "redundancy_ablation",
    "tables": [{"name": "t", "caption": "A table.", "columns": [{"metric": "top1"}], "notes": ["protocol"]}],
}


def test_a_note_of_the_scale_at_hand(tmp_path: Path) -> None:
    results = synthetic_frame.study(tmp_path / "redundancy_ablation")
    scale = load_frame(results).scale
    file = tmp_path / "t.yaml"
    file.write_text(yaml.safe_dump({**SPEC, "scales": {scale: "Images are copies.", "other": "Images are drawn."}}))
    build(results, file)
    table = (results / "tables" / "t.md").read_text()
    assert "Images are copies." in table
    assert "Images are drawn." not in table


def test_table_files_name_scales_of_their_studies() -> None:
    told = 0
    for file in (ROOT / "studies").glob("*.yaml"):
        known = yaml.safe_load(file.read_text()).get("scales", {})
        spec = yaml.safe_load((ROOT / "paper_tables" / file.name).read_text()) if file.stem != "baselines_smoke" else {}
        assert spec.get("scales", {}).keys() <= known.keys(), file.name
        told += len(spec.get("scales", {}))
    assert told
