"""What each verb costs as a study grows: CPU seconds, peak memory, and what a further trial or event costs.

    python benchmarks/engine/scale.py [--trials 1000 10000 100000] [--events 20000 200000 2000000] [--only doctor]

"ms each" is the increase since the size before, for each trial or event added, so that starting Python is not in it
(but for the first size, where it is); the ratio is that against the size before, and 1.0 is linear growth. Two trials
of a toy study are really run; the others are copies of the first one's files with their own spec. With --events one of
them has so many lines in events.jsonl. Planning is measured beside the finished trials, with nothing on disk (bare),
beside as many trials of another study (other), and with an arm for each trial, up to 20 000 (arms).

Every verb has a process of its own. Linux counts a parent's peak as its child's, so the trials are made in a process
that ends before: the memory of a verb is its own, and at least this script's 20 MiB or so.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
ARMS = 100
MOST_ARMS, MOST_LEVELS = 20_000, 1000
"""Of a study, and of an axis."""
STUDY = """
study: {name}
task: toy_task.py
seeds: {seeds}
base: {{train.steps: {steps}}}
axes:
  lr: {{key: train.lr, values: {rates}, baseline: 0.001}}
  noise: {{key: train.noise, values: {noises}, baseline: 0.01}}
  shape: {{key: shape, values: [round, long], baseline: round}}
design: [{{grid: [lr, noise, shape]}}]
metrics: {{score: {{from: best, direction: max}}, distance: {{direction: min}}}}
"""
COLLECT = (
    "import sys; from pathlib import Path; from studies.engine.results.collect import collect;"
    "from studies.engine.storage.results_dir import Store;"
    "collect(Store(Path(sys.argv[1])), Path(sys.argv[1]) / 'scale')"
)


class Cost(NamedTuple):
    """CPU seconds of a verb at a size, and milliseconds for each trial or event since the size before."""

    size: int
    cpu: float
    each: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="*", default=[1000, 10_000, 100_000])
    parser.add_argument("--events", type=int, nargs="*", default=[20_000, 200_000, 2_000_000])
    parser.add_argument("--only", nargs="*", choices=list(commands(Path(), Path())), default=[])
    wanted = parser.parse_args()
    print(f"{'':14} {'verb':10} {'CPU s':>6} {'MiB':>7} {'ms each':>8} {'ratio':>6}", flush=True)
    for what, sizes in (("trials", wanted.trials), ("events", wanted.events)):
        before: dict[str, Cost] = {}
        for size in sizes:
            with tempfile.TemporaryDirectory() as place:
                trials = size if what == "trials" else ARMS
                study = write_study(Path(place), "scale", trials, ARMS)
                write_study(Path(place), "other", trials, ARMS)
                write_study(Path(place), "arms", trials, min(trials, MOST_ARMS))
                with get_context("spawn").Pool(1) as maker:
                    maker.apply(finish, (study, study.parent / "results", size if what == "events" else 0))
                before = measure(study, f"{size} {what}", size, before, wanted.only)


def commands(study: Path, results: Path) -> dict[str, tuple[str, ...]]:
    """Arguments of python for each verb, in the order in which they need each other's files."""
    studies, at, bundle = ("-m", "studies"), ("--results", str(results)), str(results.parent / "bundle.zip")
    return {
        "plan": (*studies, "plan", str(study), "--on", "inline", *at),
        "plan-bare": (*studies, "plan", str(study), "--on", "inline", "--results", str(results.parent / "nothing")),
        "plan-other": (*studies, "plan", str(study.parent / "other.yaml"), "--on", "inline", *at),
        "plan-arms": (*studies, "plan", str(study.parent / "arms.yaml"), "--on", "inline", *at),
        "list": (*studies, "list", *at),
        "status": (*studies, "status", "scale", *at),
        "doctor": (*studies, "doctor", *at),
        "collect": ("-c", COLLECT, str(results)),
        "tables": (*studies, "tables", str(study), *at),
        "export": (*studies, "export", str(study), "--output", bundle, *at),
        "verify": (*studies, "verify", bundle, "--sample", "0"),
    }


def measure(study: Path, what: str, size: int, before: dict[str, Cost], only: list[str]) -> dict[str, Cost]:
    """Cost of each verb, printed beside that of the size before."""
    costs = {}
    for verb, arguments in commands(study, study.parent / "results").items():
        if only and verb not in only:
            continue
        code, cpu, memory = run(arguments, study.parent)
        old = before.get(verb, Cost(0, 0.0, 0.0))
        each = 1000 * (cpu - old.cpu) / (size - old.size)
        costs[verb] = Cost(size, cpu, each)
        ratio = f"{each / old.each:6.2f}" if old.each else " " * 6
        ended = f"  exit code {code}" if code else ""
        print(f"{what:14} {verb:10} {cpu:6.1f} {memory:7.0f} {each:8.4f} {ratio}{ended}", flush=True)
    return costs


def run(arguments: tuple[str, ...], place: Path) -> tuple[int, float, float]:
    """Exit code, CPU seconds and peak MiB of a process."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with open(place / "said.txt", "ab") as said:
        process = subprocess.Popen([sys.executable, *arguments], cwd=place, env=environment, stdout=said, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def write_study(place: Path, name: str, trials: int, arms: int) -> Path:
    """A study file with so many arms, and so many seeds that there are `trials`; studies share no trial."""
    (place / "toy_task.py").write_text((ROOT / "tests" / "toy_task.py").read_text())
    levels = min(arms // 2, MOST_LEVELS)
    rates = [round(0.001 * (i + 1), 3) for i in range(levels)]
    noises = [round(0.01 * (i + 1), 2) for i in range(arms // 2 // levels)]
    seeds = list(range(-(-trials // arms)))
    steps = {"scale": 4, "other": 5, "arms": 6}[name]
    study = place / f"{name}.yaml"
    study.write_text(STUDY.format(name=name, seeds=seeds, steps=steps, rates=rates, noises=noises))
    return study


def finish(study: Path, results: Path, events: int) -> None:
    """What a finished run leaves, from two trials that are run; the first other one has `events` events, if not 0."""
    first = ("run", str(study), "--on", "inline", "--only", "lr=0.001", "--seeds", "0")
    command = [sys.executable, "-m", "studies", *first, "--results", str(results)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, check=True, cwd=study.parent, env=environment, stdout=subprocess.DEVNULL)
    sys.path.insert(0, str(ROOT))
    from studies.engine.cli.study_lookup import plan_selection
    from studies.engine.planning.selection import Selection
    from studies.engine.storage.plan_file import write_plan

    ready = sorted((results / "trials").iterdir())
    names = ("state.json", "result.json", "events.jsonl", "attempts/0/env.json")
    texts = {name: (ready[0] / name).read_text() for name in names}
    plan = plan_selection(Selection(str(study), results=results))
    write_plan(plan.to_plan_file())
    for trial in plan.trials:
        folder = results / "trials" / trial.folder_id
        if folder in ready:
            continue
        (folder / "attempts" / "0").mkdir(parents=True)
        (folder / "spec.json").write_text(json.dumps(trial.spec()))
        for name, text in texts.items():
            (folder / name).write_text(text)
        if events:
            with open(folder / "events.jsonl", "w") as lines:
                for step in range(1, events + 1):
                    lines.write(json.dumps({"t": 1.7e9 + step, "step": step, "a": 0, "m": {"train.loss": 1 / step}}))
                    lines.write("\n")
            events = 0


if __name__ == "__main__":
    main()
