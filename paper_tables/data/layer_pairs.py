"""Metrics of pairs of layers, logged as ``<metric>.layer00.layer03`` (the earlier layer first), as tables."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from paper_tables.data.frame import Arm, Frame

PAIR = re.compile(r"\.layer(\d+)\.layer(\d+)")
COLUMNS = ["trial", "early", "late", "value"]


def pair_values(frame: Frame, arms: list[Arm], metric: str) -> pd.DataFrame:
    """Return one row per finished trial and pair: trial, early, late (layers from 1), last logged value."""
    tables = []
    for name in frame.curve_metrics():
        found = PAIR.fullmatch(name.removeprefix(metric)) if name.startswith(metric) else None
        if found is None:
            continue
        for arm in arms:
            last = frame.curve(arm, name).sort_values("step").groupby("trial").tail(1)
            tables.append(last.assign(early=int(found[1]) + 1, late=int(found[2]) + 1)[COLUMNS])
    table = pd.concat(tables) if tables else pd.DataFrame({name: [] for name in COLUMNS})
    return table.loc[table["value"].notna()].drop_duplicates(["trial", "early", "late"])


def matrix(table: pd.DataFrame, layers: int) -> NDArray[np.float64]:
    """Return the mean over trials, ``[early, late]``; NaN without data."""
    found = np.full((layers, layers), np.nan)
    means = table.groupby(["early", "late"], as_index=False)["value"].mean()
    early, late = means["early"].to_numpy(dtype=int) - 1, means["late"].to_numpy(dtype=int) - 1
    found[early, late] = means["value"].to_numpy(dtype=float)
    return found


def by_lag(table: pd.DataFrame) -> pd.DataFrame:
    """Return x (distance in layers), trial, value: mean over a trial's pairs of that distance."""
    lagged = table.assign(x=table["late"] - table["early"])
    return lagged.groupby(["x", "trial"])["value"].mean().reset_index()
