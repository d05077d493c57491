"""A plausible frame of the redundancy ablation: 23 arms, 3 seeds, with curves; the same on every machine."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

AXES: dict[str, dict[str, tuple[list[str], str]]] = {
    "sret": {"recursion": (["1", "2", "3"], "2"), "slices": (["none", "half", "paper", "double"], "paper")},
    "mor_vit": {"routing": (["expert", "token"], "expert"), "capacity": (["0.25", "0.5", "0.75", "1.0"], "0.5")},
    "tpc_vit": {
        "pause": (["true", "false"], "true"),
        "smoothing": (["none", "spatial", "prior", "both"], "both"),
        "stabilizer": (["off", "dw_pre", "dw_mlp", "peg_once"], "dw_pre"),
    },
}
INERT: dict[str, Callable[[dict[str, str]], bool]] = {
    "slices": lambda c: c["recursion"] == "1",
    "capacity": lambda c: c["routing"] == "token",
    "smoothing": lambda c: c["pause"] == "false",
}
GRIDS = {"sret": ("recursion", "slices"), "tpc_vit": ("pause", "stabilizer")}
EFFECT = {
    ("recursion", "1"): -1.9, ("recursion", "3"): 0.5, ("slices", "none"): 0.2, ("slices", "half"): 0.1,
    ("slices", "double"): -0.4, ("routing", "token"): -1.2, ("capacity", "0.25"): -2.6, ("capacity", "0.75"): 0.5,
    ("capacity", "1.0"): 0.6, ("pause", "false"): 0.3, ("smoothing", "none"): -0.8, ("smoothing", "spatial"): -0.3,
    ("smoothing", "prior"): -0.4, ("stabilizer", "off"): -1.5, ("stabilizer", "dw_mlp"): -0.2,
    ("stabilizer", "peg_once"): -0.5,
}  # fmt: skip
COST = {
    ("recursion", "1"): 0.55, ("recursion", "3"): 1.45, ("slices", "none"): 1.12, ("slices", "half"): 1.05,
    ("slices", "double"): 0.97, ("routing", "token"): 1.08, ("capacity", "0.25"): 0.62, ("capacity", "0.75"): 1.31,
    ("capacity", "1.0"): 1.6, ("pause", "false"): 1.55, ("stabilizer", "off"): 0.96, ("stabilizer", "dw_mlp"): 1.03,
    ("stabilizer", "peg_once"): 0.99,
}  # fmt: skip
START = {"sret": (96.2, 0.0043, 0.131), "mor_vit": (94.8, 0.0029, 0.162), "tpc_vit": (95.4, 0.0048, 0.305)}
METRICS = {
    "top1": {"from": "best", "direction": "max", "unit": "%"},
    "gflops": {"from": None, "direction": "min", "unit": None},
    "images_per_second": {"from": None, "direction": "max", "unit": None},
    "params_m": {"from": None, "direction": "min", "unit": None},
    "active_share": {"from": None, "direction": "min", "unit": None},
}


def about() -> dict[str, Any]:
    """The metadata that rides in the parquet."""
    parts = [
        {
            "name": part,
            "baseline": "baseline",
            "axes": [
                {"name": name, "label": name, "levels": list(levels), "baseline": base}
                for name, (levels, base) in axes.items()
            ],
        }
        for part, axes in AXES.items()
    ]
    return {
        "frame": 1,
        "study": "redundancy_ablation",
        "title": "Where three dynamic ViTs spend redundant compute",
        "scale": "laptop",
        "label": "",
        "task": "classify",
        "metrics": copy.deepcopy(METRICS),
        "parts": parts,
        "study_text": "study: redundancy_ablation\ntask: classify\n",
    }


def arms(part: str) -> Iterator[tuple[str, dict[str, str], dict[str, str]]]:
    """(label, coordinates without inert axes, full coordinates), as the study's design expands."""
    axes = AXES[part]
    base = {name: b for name, (_, b) in axes.items()}
    wanted = [base] + [{**base, name: level} for name, (levels, _) in axes.items() for level in levels]
    if part in GRIDS:
        one, two = GRIDS[part]
        for a, b in itertools.product(axes[one][0], axes[two][0][: 2 if part == "tpc_vit" else None]):
            wanted.append({**base, one: a, two: b})
    seen = set()
    for full in wanted:
        coords = {k: v for k, v in full.items() if not (k in INERT and INERT[k](full))}
        if tuple(coords.items()) not in seen:
            seen.add(tuple(coords.items()))
            away = [f"{k}={v}" for k, v in coords.items() if v != base[k]]
            yield " ".join(away) or "baseline", coords, full


def frames(seeds: int = 3) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Trials and curves."""
    rows, curves = [], []
    for part in AXES:
        for label, coords, _ in arms(part):
            for seed in range(seeds):
                row, curve = _trial(part, label, coords, seed)
                rows.append(row)
                curves += curve
    return pd.DataFrame(rows), pd.DataFrame(curves)


def _trial(part: str, label: str, coords: dict[str, str], seed: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    name = hashlib.sha256(f"{part} {label} {seed}".encode()).hexdigest()[:12]
    rng = np.random.default_rng(int(name, 16))
    shared = np.random.default_rng([seed, len(part)]).normal(0, 0.25)
    away = [(k, v) for k, v in coords.items() if AXES[part][k][1] != v]
    accuracy, macs, params = START[part]
    cost = float(np.prod([COST.get(a, 1.0) for a in away])) * (1 + 0.002 * rng.normal() * (part != "sret"))
    top1 = accuracy + sum(EFFECT.get(a, 0.0) for a in away) + shared + rng.normal(0, 0.15)
    top1 = round(round(top1 * 3.6) / 3.6, 6)
    row: dict[str, Any] = {
        "study": "redundancy_ablation", "part": part, "trial": name, "arm": label, "baseline": not away, "seed": seed,
        "status": "done", "attempts": 1, **{f"axis.{a}": coords.get(a, "") for p in AXES for a in AXES[p]},
        "metric.top1": top1, "metric.gflops": round(macs * cost, 8),
        "metric.images_per_second": round(21000 / cost * (1 + 0.02 * seed), 2),
        "metric.params_m": params, "metric.active_share": round(min(1.0, 0.65 * cost), 4),
        "cost.seconds": round(14.0 * cost + seed, 3),
        "cost.gpu_hours": 0.0, "cost.peak_memory_mb": 812.0,
        "model.params": params * 1e6, "model.gflops": round(macs * cost, 8),
        "env.git": "4f2a9c1d0be7", "env.source": "77aa01", "env.gpu": "", "env.torch": "2.15.0",
        "started": "2026-01-05T10:00:00+00:00", "ended": f"2026-01-05T10:00:{20 + seed}+00:00",
    }  # fmt: skip
    curve = []
    wobble = 1.2 if ("stabilizer", "off") in away else 0.4
    for step in range(1, 21):
        value = top1 - 78 * np.exp(-step / 3.2) + rng.normal(0, wobble) * np.exp(-step / 12)
        curve.append({"trial": name, "step": step, "metric": "val.top1", "value": round(float(value), 4)})
    for layer in range(6 if part != "sret" else 0):
        share = _share(part, coords, layer) * (1 + 0.01 * rng.normal())
        curve.append(
            {"trial": name, "step": 20, "metric": f"active.layer{layer:02d}", "value": round(min(1.0, share), 4)}
        )
    return row, curve


def _share(part: str, coords: dict[str, str], layer: int) -> float:
    if part == "mor_vit":
        return 1.0 if layer == 0 else float(coords.get("capacity", 0.6)) ** (layer / 3)
    if coords["pause"] == "false":
        return 1.0
    keep = {"none": 0.80, "spatial": 0.84, "prior": 0.87, "both": 0.90}[coords["smoothing"]]
    return keep**layer


def write(
    folder: Path, trials: pd.DataFrame, curves: pd.DataFrame | None = None, meta: dict[str, Any] | None = None
) -> Path:
    """A study folder as `collect` leaves it; without `meta` only the CSV."""
    folder.mkdir(parents=True, exist_ok=True)
    trials.to_csv(folder / "trials.csv", index=False)
    if meta is not None:
        table = pa.Table.from_pandas(trials, preserve_index=False)
        parquet.write_table(
            table.replace_schema_metadata({**(table.schema.metadata or {}), b"dynvit": json.dumps(meta).encode()}),
            folder / "trials.parquet",
        )
    if curves is not None:
        parquet.write_table(pa.Table.from_pandas(curves, preserve_index=False), folder / "curves.parquet")
    return folder


def study(folder: Path, seeds: int = 3) -> Path:
    """The whole study, finished."""
    return write(folder, *frames(seeds), about())
