"""How long it takes to collect a large study: ``python benchmarks/engine/collect.py [trials]``."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from studies.engine.core.trial import State
from studies.engine.results.collect import collect
from studies.engine.storage.results_dir import Store

EPOCHS, METRICS, SEEDS = 20, 15, 5
LIMIT_SECONDS = 30


def write_study(store: Store, trials: int) -> Path:
    """A finished study of one axis, written without fsync."""
    levels = [str(i) for i in range(-(-trials // SEEDS))]
    planned = []
    for i in range(trials):
        arm, seed = divmod(i, SEEDS)
        coords = {"width": levels[arm]}
        trial = {"part": "main", "arm": f"width={arm}", "coords": coords, "baseline": arm == 0, "blocks": ["grid"]}
        planned.append({**trial, "seed": seed, "trial": f"{i:012x}", "folder": f"{i:012x}"})
        write_trial(store.trials / f"{i:012x}", i)
    axis = {"name": "width", "label": "Width", "levels": levels, "baseline": "0"}
    plan = {
        "schema": 1,
        "study": "large",
        "title": "Large",
        "label": "",
        "scale": "",
        "study_file": "large.yaml",
        "study_text": "",
        "task": "toy",
        "metrics": {"top1": {"from": "best", "direction": "max", "unit": "%"}},
        "parts": [{"name": "main", "baseline": "width=0", "axes": [axis]}],
        "trials": planned,
    }
    folder = store.study("large")
    folder.mkdir(parents=True)
    (folder / "plan.json").write_text(json.dumps(plan))
    return folder


def write_trial(folder: Path, index: int) -> None:
    attempt = folder / "attempts" / "0"
    attempt.mkdir(parents=True)
    (attempt / "env.json").write_text(json.dumps({"git": "abc", "source": "def", "packages": {"torch": "2.15.0"}}))
    state = State(status="done", attempt=1, step=EPOCHS, started=1.79e9 + index, ended=1.79e9 + index + 60)
    (folder / "state.json").write_text(json.dumps(asdict(state)))
    result = {"metrics": {"best": {"top1": 50 + index / 1000}}, "cost": {"seconds": 60.0, "params": 100}}
    (folder / "result.json").write_text(json.dumps(result))
    lines = (
        json.dumps({"t": 1.79e9 + e, "step": e, "m": {f"metric{m:02d}": index / (e * (m + 1)) for m in range(METRICS)}})
        for e in range(1, EPOCHS + 1)
    )
    (folder / "events.jsonl").write_text("".join(f"{line}\n" for line in lines))


def main() -> int:
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as root:
        store = Store(Path(root))
        folder = write_study(store, trials)
        wall, cpu = time.perf_counter(), time.process_time()
        collect(store, folder)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        size = sum(f.stat().st_size for f in folder.glob("*.parquet"))
    print(f"{trials} trials, {trials * EPOCHS * METRICS} curve points, {size / 2**20:.1f} MB of parquet")
    print(f"collect {wall:.1f} s wall, {cpu:.1f} s CPU, {1e3 * wall / trials:.2f} ms per trial")
    limit = LIMIT_SECONDS * trials / 10_000
    print(f"limit   {limit:.1f} s: {'kept' if wall <= limit else 'MISSED'}, {wall / limit:.2f} of it")
    return 0 if wall <= limit else 1


if __name__ == "__main__":
    sys.exit(main())
