"""The script for a lent GPU, rehearsed on the CPU: every step runs, and its files say what was measured."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks/on_gpu.py"


@pytest.mark.slow
def test_rehearsal_runs_to_its_end(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--out", str(tmp_path), "--device", "cpu", "--rehearse"]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert printed.returncode == 0, printed.stderr
    (folder,) = tmp_path.iterdir()
    rows = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    assert rows[0]["kind"] == "about" and {"device", "driver", "torch", "timm", "commit", "date", "seed"} <= set(
        rows[0]
    )
    assert {row["step"]: row["status"] for row in rows if row["kind"] == "step"} == {
        "correctness": "done",
        "eager": "done",
        "graph": "skipped: CUDA graphs need a GPU",
        "compiled": "done",
        "training": "done",
        "campaign": "skipped: no --data",
    }, (folder / "log.txt").read_text()
    checks = [row for row in rows if row["kind"] == "correctness"]
    assert {row["check"] for row in checks} == {
        "built", "float32 equals CPU", "masked equals gathered", "decisions in bfloat16", "training step",
        "compiled equals eager",
    }  # fmt: skip
    assert not [row for row in checks if "error" in row or row.get("ok") is False]
    for kind, column in (("correctness", "check"), ("speed", "speed_up"), ("training", "step_ratio")):
        lines = (folder / f"{kind}.csv").read_text().splitlines()
        assert any(line.startswith("# commit: ") for line in lines)
        table = list(csv.DictReader(line for line in lines if not line.startswith("#")))
        assert table and all(row[column] for row in table)
    assert {row["mode"] for row in rows if row["kind"] == "speed"} == {"eager", "compiled"}
    report = (folder / "README.md").read_text()
    assert "evit_deit_tiny_patch16_224" in report and "rehearsal" in report
