"""The notebook of the documentation runs from its first cell to its last, and shows what it speaks of."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbclient import NotebookClient

import studies

ROOT = Path(__file__).parents[3]
NOTEBOOK = ROOT / "docs" / "notebooks" / "results.ipynb"


def test_the_notebook_runs(monkeypatch) -> None:
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
