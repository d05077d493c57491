"""A cost study next to the synthetic ablation: one trial per model, parameters and multiply-accumulates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import synthetic_frame

MODELS = {
    "sret_tiny": (4.76, 1.12), "swin_tiny": (28.288, 4.36), "deit_tiny": (5.717, 1.258), "mor_tiny": (1.79, 1.25),
    "sret_deep_1000": (14.2, 5.9),
}  # fmt: skip
METRICS: dict[str, Any] = {
    "params_m": {"from": None, "direction": "min", "unit": None},
    "macs": {"from": None, "direction": "min", "unit": None},
}


def study(folder: Path) -> Path:
    rows = [
        {"study": "cost", "part": "main", "trial": f"cost{i:08d}", "arm": f"model={name}", "baseline": i == 0,
         "seed": 0, "status": "done", "attempts": 1, "axis.model": name, "metric.params_m": params, "metric.macs": macs,
         "env.git": "4f2a9c1d0be7", "env.gpu": "", "env.torch": "2.15.0"}
        for i, (name, (params, macs)) in enumerate(MODELS.items())
    ]  # fmt: skip
    axis = {"name": "model", "label": "model", "levels": list(MODELS), "baseline": "sret_tiny"}
    about = {
        "study": "cost", "title": "What each model costs", "scale": "laptop", "label": "", "metrics": METRICS,
        "parts": [{"name": "main", "baseline": "model=sret_tiny", "axes": [axis]}],
    }  # fmt: skip
    return synthetic_frame.write(folder, pd.DataFrame(rows), None, about)
