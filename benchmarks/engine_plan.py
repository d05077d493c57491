"""Planning a study of 10 000 trials, with nothing and with everything on disk; starting `list` and `plan`.

    python benchmarks/engine_plan.py

Prints seconds of wall clock and of this process's CPU; the targets are 3 s for planning and 0.5 s for a verb.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from studies.engine.cli.study_lookup import plan_selection
from studies.engine.planning.plan import Plan
from studies.engine.planning.selection import Selection
from studies.engine.storage.code_snapshot import fingerprint, root
from studies.engine.storage.plan_file import write_plan

REPEATS = 3


def study_text(name: str, arms_per_axis: int, seeds: int, epochs: int) -> str:
    """Two axes in a grid; `epochs` sets studies apart that should share no trial."""
    values = ", ".join(f"{0.001 * (i + 1):.3f}" for i in range(arms_per_axis))
    decay = ", ".join(f"{0.01 * (i + 1):.2f}" for i in range(arms_per_axis))
    return f"""
study: {name}
task: classify
seeds: [{", ".join(map(str, range(seeds)))}]
base: {{model.name: sret_tiny, data.image_size: 32, train.epochs: {epochs}}}
axes:
  lr: {{key: train.lr, values: [{values}], baseline: 0.001}}
  decay: {{key: train.weight_decay, values: [{decay}], baseline: 0.01}}
design: [{{grid: [lr, decay]}}]
"""


def timed(call: Callable[[], Any]) -> tuple[float, float, Any]:
    """Best wall and CPU seconds of a few calls."""
    best = (float("inf"), float("inf"))
    for _ in range(REPEATS):
        wall, cpu = time.perf_counter(), time.process_time()
        value = call()
        best = min(best, (time.perf_counter() - wall, time.process_time() - cpu), key=lambda pair: pair[1])
    return *best, value


def finish(plan: Plan, results: Path) -> None:
    """The folders that a finished run of the plan leaves."""
    env = json.dumps({"source": fingerprint(root()), "packages": {"torch": "2"}})
    state = json.dumps({"status": "done", "attempt": 1, "device": "cpu"})
    result = json.dumps({"metrics": {"best": {"top1": 90.0}}, "cost": {"seconds": 10.0}})
    for trial in plan.trials:
        folder = results / "trials" / trial.folder_id
        (folder / "attempts" / "0").mkdir(parents=True)
        (folder / "spec.json").write_text(json.dumps(trial.spec()))
        (folder / "state.json").write_text(state)
        (folder / "result.json").write_text(result)
        (folder / "attempts" / "0" / "env.json").write_text(env)


def verb(*arguments: str) -> tuple[float, float]:
    """Best wall and CPU seconds of a command in a process of its own."""
    best = (float("inf"), float("inf"))
    for _ in range(REPEATS):
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([sys.executable, "-m", "studies", *arguments], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        best = min(best, (time.perf_counter() - start, cpu), key=lambda pair: pair[1])
    return best


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results"
        for name, arms, seeds, epochs in (("wide", 45, 5, 20), ("flat", 100, 1, 20), ("other", 45, 5, 21)):
            (Path(folder) / f"{name}.yaml").write_text(study_text(name, arms, seeds, epochs))

        def plan(name: str) -> Plan:
            return plan_selection(Selection(str(Path(folder) / f"{name}.yaml"), results=results))

        rows = []
        for name in ("wide", "flat"):
            wall, cpu, made = timed(lambda name=name: plan(name))
            rows.append(
                (f"{len(made.trials)} trials, {len(made.trials) // len(made.study.at('').seeds)} arms", wall, cpu)
            )
        made = plan("wide")
        finish(made, results)
        write_plan(made.to_plan_file())
        wall, cpu, made = timed(lambda: plan("wide"))
        rows.append((f"{len(made.trials)} trials, all done", wall, cpu))
        wall, cpu, made = timed(lambda: plan("other"))
        rows.append((f"{len(made.trials)} trials next to as many of another study", wall, cpu))
        rows.append(("studies list", *verb("list", "--results", str(results))))
        rows.append(
            ("studies plan redundancy_ablation", *verb("plan", "redundancy_ablation", "--results", str(results)))
        )
        print(f"{'':50} {'wall s':>7} {'CPU s':>7}")
        for what, wall, cpu in rows:
            print(f"{what:50} {wall:7.2f} {cpu:7.2f}")


if __name__ == "__main__":
    main()
