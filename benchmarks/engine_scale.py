"""What each verb costs as a study grows: CPU seconds, peak memory, and the cost of a trial against the size before.

    python benchmarks/engine_scale.py [--trials 1000 10000 100000] [--events 200000 2000000] [--only doctor verify]

A ratio of 1.0 is linear growth; starting Python, which costs half a second or so, makes it smaller at first. Two trials
of a toy study are really run; the others are copies of the first one's files with their own spec. With --events one of
them has so many lines in events.jsonl. Every verb has a process of its own, so that its memory is its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ARMS = 100
STUDY = """
study: scale
task: toy_task.py
seeds: {seeds}
base: {{train.steps: {steps}}}
axes:
  lr: {{key: train.lr, values: {rates}, baseline: 0.001}}
  shape: {{key: shape, values: [round, long], baseline: round}}
design: [{{grid: [lr, shape]}}]
metrics: {{score: {{from: best, direction: max}}, distance: {{direction: min}}}}
"""
COLLECT = (
    "import sys; from pathlib import Path; from studies.engine.results.collect import collect;"
    "from studies.engine.storage.results_dir import Store;"
    "collect(Store(Path(sys.argv[1])), Path(sys.argv[1]) / 'scale')"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="*", default=[1000, 10_000, 100_000])
    parser.add_argument("--events", type=int, nargs="*", default=[200_000, 2_000_000])
    parser.add_argument("--only", nargs="*", choices=list(commands(Path(), Path())), default=None)
    wanted = parser.parse_args()
    print(f"{'':10} {'verb':10} {'CPU s':>8} {'MiB':>7} {'ms each':>8} {'ratio':>6}", flush=True)
    for what, sizes in (("trials", wanted.trials), ("events", wanted.events)):
        before: dict[str, float] = {}
        for size in sizes:
            with tempfile.TemporaryDirectory() as place:
                study = write_study(Path(place), size if what == "trials" else ARMS)
                results = Path(place) / "results"
                finish(study, results, size if what == "events" else 0)
                before = measure(study, results, f"{size} {what}", size, before, wanted.only)


def commands(study: Path, results: Path) -> dict[str, tuple[str, ...]]:
    """Arguments of python for each verb, in the order in which they need each other's files."""
    studies, at, bundle = ("-m", "studies"), ("--results", str(results)), str(results.parent / "bundle.zip")
    return {
        "plan": (*studies, "plan", str(study), "--on", "inline", *at),
        "list": (*studies, "list", *at),
        "status": (*studies, "status", "scale", *at),
        "doctor": (*studies, "doctor", *at),
        "collect": ("-c", COLLECT, str(results)),
        "tables": (*studies, "tables", str(study), *at),
        "export": (*studies, "export", str(study), "--output", bundle, *at),
        "verify": (*studies, "verify", bundle, "--sample", "0"),
    }


def measure(
    study: Path, results: Path, what: str, size: int, before: Mapping[str, float], only: list[str] | None
) -> dict[str, float]:
    """Milliseconds of CPU per trial or event, by verb; printed beside those of the size before."""
    each = {}
    for verb, arguments in commands(study, results).items():
        if only and verb not in only:
            continue
        code, cpu, memory = run(arguments, study.parent)
        each[verb] = 1000 * cpu / size
        ratio = f"{each[verb] / before[verb]:6.2f}" if verb in before else " " * 6
        ended = f"  exit code {code}" if code else ""
        print(f"{what:14} {verb:8} {cpu:6.1f} {memory:7.0f} {each[verb]:8.3f} {ratio}{ended}", flush=True)
    return each


def run(arguments: tuple[str, ...], place: Path) -> tuple[int, float, float]:
    """Exit code, CPU seconds and peak MiB of a process."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with open(place / "said.txt", "ab") as said:
        process = subprocess.Popen([sys.executable, *arguments], cwd=place, env=environment, stdout=said, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def write_study(place: Path, trials: int) -> Path:
    """A study file of a hundred arms, and so many seeds that there are `trials`."""
    (place / "toy_task.py").write_text((ROOT / "tests" / "toy_task.py").read_text())
    rates = [round(0.001 * (i + 1), 3) for i in range(ARMS // 2)]
    study = place / "scale.yaml"
    study.write_text(STUDY.format(seeds=list(range(-(-trials // ARMS))), steps=4, rates=rates))
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
