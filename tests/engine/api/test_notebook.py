"""The notebook of the documentation runs from its first cell to its last, and shows what it speaks of."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import studies

ROOT = Path(__file__).parents[3]
NOTEBOOK = ROOT / "docs" / "notebooks" / "results.ipynb"


def test_the_notebook_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs for cell in cells), "commit it without outputs"
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": NOTEBOOK.parent}}
    ).execute()

    shown = {cell.source.strip().splitlines()[-1]: cell.outputs for cell in cells}
    results = studies.open(ROOT / "results" / "example" / "redundancy_ablation")
    assert shown["results.table()"][0].data["text/html"] == results.table()._repr_html_()
    compared = shown['results.compare("stabilizer=off")'][0].data
    assert compared["text/plain"] == repr(results.compare("stabilizer=off")) and "−13.67" in compared["text/html"]
    assert shown["claims"][0].data["text/html"].count("reproduced") >= 1
    assert "71.166667" in shown['results.table("stabilizer_by_pause").data'][0].data["text/html"]
    pictures = [out for outputs in shown.values() for out in outputs if "image/png" in out.get("data", {})]
    assert len(pictures) == 2, "one drawn by hand, one changed"
    assert "data:image/svg+xml" in shown['results.figure("pareto")'][0].data["text/html"]
    assert not [out for outputs in shown.values() for out in outputs if out.get("name") == "stderr"]


def test_a_run_in_a_notebook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlflow_database: Callable[[Path], Path]
) -> None:
    """Its progress is lines of text; the plan and the results show themselves."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    mlflow_database(tmp_path / "results")
    for name in ("toy_task.py", "toy_study.yaml"):
        shutil.copy(ROOT / "tests" / name, tmp_path)
    lines = ['import studies\nplan = studies.plan("toy_study.yaml", only="lr=0.1")\nplan', 'plan.run(on="inline")']
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(line) for line in lines])
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    plan, run = (cell.outputs for cell in notebook.cells)
    assert "<td>baseline</td>" in plan[0].data["text/html"] and "to run    6 trials" in plan[0].data["text/plain"]
    text = "".join(out.text for out in run if out.get("name") == "stdout")
    assert text.count("\ndone      ") + text.startswith("done      ") == 7, "six trials and their sum"
    assert "\x1b" not in text and not [out for out in run if out.get("name") == "stderr"]
    assert "18 trials (6 done and 12 planned)" in run[-1].data["text/plain"]
