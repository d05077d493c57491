"""How long ``python -m paper_tables all`` takes on ten thousand trials with curves and predictions: at most 30 seconds.

    python benchmarks/engine/tables.py [--trials 10000]

Three studies with the redundancy ablation's table file and hundreds of seeds, and one of a thousand arms without a
table file; 20 logged steps and 360 predicted images per trial. Says the time of a first rendering, and of one with
nothing new. Judged by processor time (one thread): that is what a clock shows on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 30.0
sys.path.insert(0, str(ROOT / "tests" / "paper_tables" / "support"))

import synthetic_frame  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    wanted = parser.parse_args().trials
    with tempfile.TemporaryDirectory() as place:
        results = Path(place) / "results"
        made = write(results, wanted)
        size = sum(f.stat().st_size for f in results.rglob("*") if f.is_file()) / 2**20
        print(f"{made} trials in {len(list(results.iterdir()))} studies, {size:.0f} MB of frames")
        first, again = render(results), render(results)
    for what, (clock, processor) in {"rendered": first, "nothing new": again}.items():
        print(f"{what:12} {processor:5.1f} s of processor time, {clock:5.1f} s by the clock")
    print(f"limit {LIMIT:.0f} s: {'held' if first[1] <= LIMIT else 'MISSED'}")
    return int(first[1] > LIMIT)


def render(results: Path) -> tuple[float, float]:
    """Seconds by the clock, and of the processor."""
    before, started = spent(), time.perf_counter()
    subprocess.run([sys.executable, "-m", "paper_tables", "all", "--results", str(results)], cwd=ROOT, check=True)
    return time.perf_counter() - started, spent() - before


def spent() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def write(results: Path, wanted: int) -> int:
    """The studies' folders; how many trials there are."""
    seeds = max(1, round(0.7 * wanted / 3 / 23))
    made = 0
    for label in ("", "@gpu", "@imagenet"):
        trials, curves = synthetic_frame.frames(seeds)
        folder = synthetic_frame.write(results / f"redundancy_ablation{label}", trials, curves, synthetic_frame.about())
        predictions(folder, trials["trial"])
        made += len(trials)
    arms = max(2, (wanted - made) // 3)
    trials = many_arms(arms)
    about = {"study": "many", "title": "A thousand arms", "metrics": {"loss": {"direction": "min"}}, "parts": []}
    synthetic_frame.write(results / "many", trials, None, about)
    return made + len(trials)


def many_arms(arms: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        {"study": "many", "part": "main", "trial": f"{arm:09x}{seed:03x}", "arm": f"size={arm}", "baseline": not arm,
         "seed": seed, "status": "done", "axis.size": str(arm), "metric.gflops": float(arm),
         "metric.loss": 1 / (1 + arm) + rng.normal(0, 0.01)}
        for arm in range(arms) for seed in range(3)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def predictions(folder: Path, trials: pd.Series[str]) -> None:
    rng = np.random.default_rng(1)
    target = rng.integers(0, 10, 360).astype(np.uint8)
    members = {"target/0": target}
    for trial in trials:
        members[f"prediction/{trial}/0"] = np.where(rng.random(360) < 0.95, target, 0).astype(np.uint8)
    np.savez_compressed(folder / "predictions.npz", **members)  # type: ignore[arg-type]


if __name__ == "__main__":
    sys.exit(main())
