"""Load a study folder's frame: parquet with the study's metadata, else the CSV; validated and cleaned."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import TypeAdapter, ValidationError

from paper_tables.core.errors import Fault, TableError, file_error, suggest
from paper_tables.core.text import from_csv
from paper_tables.core.yaml_loader import format_key
from paper_tables.data.design import Metadata
from paper_tables.data.frame import Frame
from paper_tables.data.predictions import FILE, Predictions

METADATA = TypeAdapter(Metadata)
CURVES = ["trial", "step", "metric", "value"]
REQUIRED = ("study", "part", "trial", "arm", "baseline", "seed", "status")
NUMBERS = ("metric.", "cost.", "model.")
TEXTS = ("study", "part", "trial", "arm", "status", "env.git", "env.source", "env.own", "env.gpu", "env.torch")
YES, NO = ("true", "1", "1.0"), ("false", "0", "0.0")
STATUSES = ("planned", "queued", "running", "done", "failed", "stopped", "lost", "preempted")
"""Of a trial in a results folder."""


def load_frame(folder: Path) -> Frame:
    """Return the frame of a study folder: trials.parquet, else trials.csv; curves, predictions and maps if present."""
    parquet, csv = folder / "trials.parquet", folder / "trials.csv"
    path = parquet if parquet.is_file() else csv
    if not path.is_file():
        raise file_error(
            folder,
            "no results here (no trials.parquet, no trials.csv): run the study, or python -m studies tables STUDY",
        )
    try:
        rows, about = _parquet(parquet) if path == parquet else (_csv(csv), {})
        curves = _parquet(folder / "curves.parquet")[0] if (folder / "curves.parquet").is_file() else pd.DataFrame()
    except (OSError, ValueError, RecursionError) as error:
        raise file_error(path, f"cannot be read as a frame: {str(error).splitlines()[0]}") from error
    images = Predictions(folder / FILE) if (folder / FILE).is_file() else None
    maps = {f.stem: f for f in sorted(folder.glob("maps/*.npz")) if f.is_file()}
    return replace(tidy_frame(rows, curves, about, path), maps=maps, images=images)


def tidy_frame(rows: pd.DataFrame, curves: pd.DataFrame, about: Any, path: Path = Path("frame")) -> Frame:
    """Return a validated frame from raw columns."""
    if not len(rows.columns):
        rows = pd.DataFrame({name: [] for name in REQUIRED})
    missing = [name for name in REQUIRED if name not in rows]
    if missing:
        raise file_error(path, f"not a results frame: no column {', '.join(missing)}")
    rows = rows.copy()
    faults: list[Fault] = []

    def refuse(name: str, wrong: Any, say: Callable[[str], str]) -> None:
        """Add a fault for each row in which the column is wrong; the head is row 1, as a spreadsheet has it."""
        at = ((i + 2, str(rows[name].iloc[i])) for i in np.flatnonzero(wrong))
        faults.extend(Fault(str(path), 0, 0, name, f"row {row}: {say(value)}") for row, value in at)

    for name in rows.columns:
        if _is_text(name):
            rows[name] = rows[name].astype(object).where(rows[name].notna(), "").astype(str)
        elif name.startswith(NUMBERS):
            found = pd.to_numeric(rows[name], errors="coerce").astype(float)
            refuse(name, found.isna() & ~_blank(rows[name]), '"{}" is no number'.format)
            rows[name] = found
    flags = rows["baseline"].astype(str).str.lower()
    refuse("baseline", ~(flags.isin([*YES, *NO]) | _blank(rows["baseline"])), '"{}" is neither true nor false'.format)
    rows["baseline"] = flags.isin(YES)
    refuse("status", ~rows["status"].isin(STATUSES), lambda text: f'no status "{text}"{suggest(text, STATUSES)}')
    seeds = pd.to_numeric(rows["seed"].astype(str), errors="coerce")
    if not ((seeds % 1 == 0) & (seeds.abs() < 2**63)).all():
        raise file_error(path, "not a results frame: a seed is no whole number")
    rows["seed"] = seeds.astype(int)
    refuse("seed", rows.duplicated(["part", "arm", "seed"]), "its part and arm have a row of seed {} already".format)
    if faults:
        raise TableError(faults)
    if curves.empty:
        curves = pd.DataFrame({name: [] for name in CURVES})
    if not {*CURVES} <= {*curves.columns}:
        raise file_error(path, f"the curves lack a column of {', '.join(CURVES)}")
    numbers = {name: pd.to_numeric(curves[name], errors="coerce") for name in ("step", "value")}
    curves = curves[CURVES].assign(**numbers).dropna(subset=["trial", "metric", "step"])
    try:
        metadata = METADATA.validate_python(about)
    except ValidationError as error:
        first = error.errors()[0]
        key = format_key(("metadata", *first["loc"]))
        raise file_error(path, f"{key}: {first['msg'][:1].lower()}{first['msg'][1:]}") from error
    return Frame(rows.reset_index(drop=True), curves, metadata, about)


def _parquet(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    from pyarrow import parquet

    table = parquet.read_table(path)
    about = json.loads((table.schema.metadata or {}).get(b"dynvit", b"{}"))
    return table.to_pandas(), about


def _csv(path: Path) -> pd.DataFrame:
    rows = pd.read_csv(path, dtype=str, keep_default_na=False, comment=None)
    return rows.assign(**{name: rows[name].map(from_csv) for name in map(str, rows.columns) if _is_text(name)})


def _blank(column: pd.Series) -> pd.Series:
    return column.isna() | column.astype(str).str.strip().str.lower().isin(["", "nan", "none", "na", "null", "<na>"])


def _is_text(column: str) -> bool:
    return column in TEXTS or column.startswith("axis.")
