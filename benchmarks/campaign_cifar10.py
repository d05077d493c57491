"""A whole campaign of a study on one machine within a stated time: as many epochs as fit, several trials at once.

    python benchmarks/campaign_cifar10.py --data cifar10.tar.gz --minutes 25
    python benchmarks/campaign_cifar10.py redundancy_ablation --minutes 25 --seeds 0 --at-once 8
    PYTHONPATH=. python benchmarks/campaign_cifar10.py --pack campaign.tar.gz ...     where nothing is installed

First one epoch of the baseline is timed with as many trials at once as later; the other arms' epochs are estimated from
it by their multiply-accumulates. That gives the number of epochs (or --epochs says it), and every trial runs with it,
the baselines first. What is not done in time saves and stops; the same command with those --epochs goes on. Needs torch
and timm: neither Ray, MLflow, SLURM nor pydantic; without pyarrow the frame waits for a machine that has it. --pack
puts the trials, without checkpoints, into one file to carry there: unpack it in results/, then `python -m studies
tables` with the name that is printed collects and draws.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path

from studies.engine.core.trial import Trial
from studies.engine.planning.forecast import gpus
from studies.engine.planning.forecast.requirements import forecast
from studies.engine.planning.plan import Plan, make_plan
from studies.engine.results.collect import collect
from studies.engine.storage.plan_file import write_plan
from studies.engine.storage.results_dir import Store
from studies.engine.study import parser as studyfile
from studies.engine.study import study_files
from studies.engine.study.model import Study

SHARE = 0.85
"""Of the time left, so much is planned for: loading, evaluation and the last trials running alone take the rest."""
POLL = 0.5
ENDING = 10.0
"""Seconds kept for saving what is not done and for the frame."""


def main() -> int:
    given = arguments()
    started = time.monotonic()
    ends = started + 60 * given.minutes - ENDING
    if given.data:
        os.environ["DYNVIT_DATA"] = str(unpacked(given.data, given.results))
    study, seeds = studyfile.load(study_files.find(given.study)), tuple(int(s) for s in given.seeds.split(","))
    overrides = [setting(text) for text in given.set]
    epochs = given.epochs or fitting(study, given, overrides, seeds, ends)
    if epochs < 1:
        print(f"{given.minutes:g} minutes are too few for one epoch of every trial: fewer --seeds, or --epochs")
        return 2
    plan = planned(study, given.results, given.scale, [*overrides, *lengths(epochs)], seeds)
    write_plan(plan.to_plan_file())
    order = sorted(plan.to_run, key=lambda trial: (not trial.arm.is_baseline, trial.seed))
    print(f"{plan.full_name}: {len(order)} trials of {epochs} epochs, {given.at_once} at once", flush=True)
    store = Store(given.results)
    run(order, store, given.at_once, given.device, ends)
    frame = collected(store, plan)
    if given.pack:
        pack(store, plan, given.pack)
    states = [store.trial(t.folder_id).state().status for t in plan.selected]
    done, minutes = states.count("done"), (time.monotonic() - started) / 60
    print(f"done {done} of {len(states)} trials in {minutes:.1f} minutes; {frame}")
    return 0 if done == len(states) else 1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", nargs="?", default="cifar10")
    parser.add_argument("--scale", default="gpu")
    parser.add_argument("--minutes", type=float, default=25, help="for everything (25)")
    parser.add_argument("--epochs", type=int, help="instead of as many as fit")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--at-once", type=int, default=4, help="trials that share the device (4)")
    parser.add_argument("--device", default=None, help="cuda:0 where there is one, else cpu")
    parser.add_argument("--data", type=Path, help="folder with the data sets, or cifar10.tar.gz")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as in `studies run`")
    parser.add_argument("--pack", type=Path, metavar="FILE", help="the trials without checkpoints as a tar.gz")
    parser.add_argument("--results", type=Path, default=Path("results"))
    given = parser.parse_args()
    if given.device is None:
        import torch

        given.device = "cuda:0" if torch.cuda.is_available() else "cpu"
    given.results = given.results.resolve()
    return given


def unpacked(data: Path, results: Path) -> Path:
    """The folder that DYNVIT_DATA should name; an archive holds the inside of its cifar10/."""
    if not data.name.endswith((".tar.gz", ".tar")):
        return data.resolve()
    target = results / "data" / data.name.partition(".")[0]
    if not target.exists():
        shutil.unpack_archive(data, target)
    return target.parent


def setting(text: str) -> tuple[str, object]:
    from studies.engine.planning.overrides import parse_override

    return parse_override(text)


def lengths(epochs: int) -> list[tuple[str, object]]:
    return [("train.epochs", epochs), ("train.warmup_epochs", min(5, epochs // 10))]


def planned(
    study: Study, results: Path, scale: str, overrides: Sequence[tuple[str, object]], seeds: Sequence[int]
) -> Plan:
    return make_plan(study, Store(results), scale=scale, overrides=overrides, seeds=seeds)


def fitting(
    study: Study, given: argparse.Namespace, overrides: list[tuple[str, object]], seeds: Sequence[int], ends: float
) -> int:
    """Epochs that fit: the baseline timed, the others by their multiply-accumulates."""
    trial = planned(study, given.results, given.scale, [*overrides, *lengths(1)], seeds)
    baseline = next(t for t in trial.trials if t.arm.is_baseline)
    probes = Store(given.results / "probe")
    plan = make_plan(study, probes, scale=given.scale, overrides=[*overrides, *lengths(1)])
    same = [t for t in plan.trials if t.arm == baseline.arm][: given.at_once] or [baseline]
    run(same, probes, given.at_once, given.device, ends)
    finished = [result for t in same if (result := probes.trial(t.folder_id).result())]
    if not finished:
        reasons = {probes.trial(t.folder_id).state().reason for t in same}
        raise SystemExit(f"the timed epoch of the baseline failed: {'; '.join(sorted(reasons))}")
    seconds = [float(result["cost"]["seconds"]) for result in finished]
    epoch = sum(seconds) / len(seconds) * given.at_once / len(same)
    expected = forecast(trial.trials, study.task, given.results, gpus.find(None), profile=True)
    needs = {} if expected is None else {k: n.seconds for k, n in expected.requirements.items() if n.seconds}
    base = needs.get(baseline.folder_id)
    folders = {t.folder_id for t in trial.trials if t.seed in seeds}
    work = sum(needs.get(f, base) / base if base else 1.0 for f in folders)
    fits = int(SHARE * (ends - time.monotonic()) * given.at_once / (epoch * work))
    print(f"an epoch of the baseline takes {epoch:.1f} s beside others; {work:.1f} such trials: {fits} epochs fit")
    full = study.at(given.scale).parts[0].base
    longest = next((s.value for s in reversed(full) if s.key == "train.epochs"), 100)
    return min(fits, int(longest))


def run(trials: Sequence[Trial], store: Store, at_once: int, where: str, ends: float) -> None:
    """A process per trial, `at_once` of them side by side; at the end of the time they save and stop."""
    waiting, running = list(trials), dict[subprocess.Popen[bytes], Trial]()
    root = Path(__file__).resolve().parent.parent
    env = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    try:
        while (waiting or running) and time.monotonic() < ends:
            while waiting and len(running) < at_once:
                trial = waiting.pop(0)
                folder = store.trial(trial.folder_id)
                folder.create(trial.spec())
                command = [sys.executable, "-m", "studies.engine.worker", "--device", where, str(folder.path)]
                threads = str(max(1, trial.resources.cpus))
                env |= {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
                running[subprocess.Popen(command, env=env)] = trial
            for process in [p for p in running if p.poll() is not None]:
                trial = running.pop(process)
                state = store.trial(trial.folder_id).state()
                print(f"{state.status:8} {trial.arm.part} {trial.arm.label} s{trial.seed} {state.reason}", flush=True)
            time.sleep(POLL)
    finally:
        for process in running:
            process.send_signal(signal.SIGTERM)
        for process, trial in running.items():
            process.wait()
            print(f"{store.trial(trial.folder_id).state().status:8} {trial.arm.part} {trial.arm.label} s{trial.seed}")


def collected(store: Store, plan: Plan) -> str:
    """The frame's file, or what to do where it cannot be written: trials are safe in their folders."""
    try:
        collect(store, plan.folder)
    except ModuleNotFoundError as missing:
        return f"no frame without {missing.name}: python -m studies tables {plan.full_name}, where there is one"
    return str(plan.folder / "trials.csv")


def pack(store: Store, plan: Plan, file: Path) -> None:
    """The study's folder and its trials as they lie in the results folder."""
    trials = [store.trial(t.folder_id).path for t in plan.selected]
    with tarfile.open(file, "w:gz") as archive:
        for folder in dict.fromkeys([plan.folder, *trials]):
            if folder.is_dir():
                archive.add(folder, folder.relative_to(store.root), filter=without_checkpoints)


def without_checkpoints(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if entry.name.endswith((".safetensors", ".pt")) else entry


if __name__ == "__main__":
    sys.exit(main())
