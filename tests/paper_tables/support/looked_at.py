"""A study with looks: arms as lists of accuracies by seed, claims that each is above the arm `base`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import synthetic_frame
import yaml

from paper_tables.claims.judge import judge_claim
from paper_tables.claims.verdicts import ClaimResult, ConditionResult
from paper_tables.data.load import load_frame
from paper_tables.data.other_studies import StudyFrames
from paper_tables.schema.table_file import read_table_file

LOOKS = (3, 5, 8)
DECIDE = {"looks": list(LOOKS), "error": 0.05}
NAN = math.nan
BASE = [70.0, 70.4, 69.7, 70.1, 69.9, 70.2, 70.3, 69.8]
CLEAR = [5.0, 5.1, 4.9, 5.2, 4.8, 5.0, 5.1, 4.9]
"""Gains that the first look decides."""
LATER = [1.0, 2.2, 1.6, 1.4, 1.8, 1.5, 1.7, 1.6]
"""Gains that the second look decides, or the third."""
NONE = [0.1, -0.1, 0.05, -0.05, 0.1, -0.1, 0.02, -0.02]
"""Gains that no look decides: as much as the bound."""


def over(gains: Sequence[float]) -> list[float]:
    return [base + gain for base, gain in zip(BASE, gains, strict=False)]


def study(
    folder: Path, arms: Mapping[str, Sequence[float]], decide: Mapping[str, Any] = DECIDE, planned: int = 0
) -> Path:
    """A study's folder with arms as top-1 by seed; NaN has failed. `planned`: further trials of each arm to come."""
    rows = [
        {"study": "s", "part": "p", "trial": f"{arm}{seed}", "arm": arm, "baseline": arm == "base", "seed": seed,
         "status": "planned" if seed >= len(values) else "failed" if math.isnan(values[seed]) else "done",
         "metric.top1": values[seed] if seed < len(values) else NAN}
        for arm, values in arms.items() for seed in range(len(values) + planned)
    ]  # fmt: skip
    meta = {"study": "s", "scale": "laptop", "decide": dict(decide)} if decide else {"study": "s", "scale": "laptop"}
    return synthetic_frame.write(folder / "s", pd.DataFrame(rows), meta=meta)


def claim(arm: str, name: str = "", **more: Any) -> dict[str, Any]:
    condition = {"metric": "top1", "of": {"arm": arm}, "against": {"arm": "base"}, "at_least": 0, **more}
    return {"name": name or arm, "text": "t", "paper": "p", "conditions": [condition]}


def spec(folder: Path, *claims: dict[str, Any]) -> Path:
    path = folder / "t.yaml"
    path.write_text(yaml.safe_dump({"study": "s", "claims": list(claims)}))
    return path


def history(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / "decisions.json").read_text())["history"]


def judged(folder: Path, file: Path) -> dict[str, ClaimResult]:
    claims = read_table_file(file)[0].claims
    return {one.name: judge_claim(one, StudyFrames(folder, load_frame(folder))) for one in claims}


def only(folder: Path, file: Path) -> ConditionResult:
    (result,) = judged(folder, file).values()
    return result.tested[0]


def only_of(folder: Path, file: Path, name: str) -> ConditionResult:
    return judged(folder, file)[name].tested[0]


def predicted(folder: Path, arms: Mapping[str, Sequence[float]], images: int = 200) -> None:
    """Predictions of each trial with its accuracy, in which the last image is the hardest."""
    right = {
        f"{arm}{seed}": round(value * images / 100) for arm, values in arms.items() for seed, value in enumerate(values)
    }
    members = {f"prediction/{trial}/d": (np.arange(images) < n).astype(np.uint8) for trial, n in right.items()}
    np.savez(folder / "predictions.npz", **{**members, "target/d": np.ones(images, np.uint8)})  # type: ignore[arg-type]
