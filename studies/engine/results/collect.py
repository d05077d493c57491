"""Collect a study: its frame, curves, predictions and token maps, written to the study folder."""

from __future__ import annotations

from pathlib import Path

from studies.engine.results import frame_io, predictions, token_maps
from studies.engine.results.readings import Curves, read_all, rows
from studies.engine.storage.plan_file import read_plan
from studies.engine.storage.results_dir import Store


def collect(store: Store, folder: Path) -> Path:
    """Write trials.csv and .parquet, curves.parquet, predictions.npz and maps/; return the path of the CSV.

    Raises:
        FileNotFoundError: nothing was ever run in this study folder.
    """
    plan = read_plan(folder)
    curves = Curves()
    readings = read_all(store, plan, curves)
    token_maps.gather(store, plan, readings, folder)
    predictions.gather([store.trial(name) for name, got in readings.items() if got.status == "done"], folder)
    return frame_io.write(folder, plan, rows(plan, readings), curves)


def output_files(folder: Path) -> list[Path]:
    """Return the files of a study folder that are made for readers: plan, looks, frame, tables, figures, report."""
    names = ("plan.json", "decisions.json", "trials.csv", "report.html", "reproducibility.md")
    rendered = [f for sub in ("tables", "figures") for f in sorted((folder / sub).glob("[!.]*")) if f.is_file()]
    return [file for name in names if (file := folder / name).is_file()] + rendered
