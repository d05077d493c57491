"""What is wrong, missing or left behind: in the results folder, its trials, on this machine. Changes nothing."""

from __future__ import annotations

import os
import platform
import shutil
import time
from collections.abc import Iterator, Sized
from dataclasses import dataclass
from importlib import metadata
from typing import Literal

from studies.engine.diagnostics import hosts
from studies.engine.diagnostics.orphans import orphans
from studies.engine.diagnostics.trial_check import Examined, examine, leftovers
from studies.engine.execution import study_lock
from studies.engine.storage import environment, plan_file
from studies.engine.storage.environment import PACKAGES
from studies.engine.storage.plan_file import PlanFile
from studies.engine.storage.results_dir import Store
from studies.engine.storage.state_watcher import StateWatcher
from studies.engine.tracking import mlflow_uri

Level = Literal["fine", "note", "attention"]
OPTIONAL = {
    "ray": ("runs trials one after another without it", "pip install 'ray[default]'"),
    "mlflow": ("runs are not shown in MLflow without it", "pip install mlflow"),
    "submitit": ("no SLURM launcher without it", "pip install submitit"),
}
TIGHT = 500 * 2**20
"""Bytes: with less, a checkpoint or a database may not fit whatever the trials so far took."""
SHOWN = 3


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, what was found, and what to do where that is not fine."""

    what: str
    level: Level
    text: str
    remedy: str = ""


def diagnose(store: Store) -> Iterator[Finding]:
    """Every check, in the order a reader wants them."""
    yield from versions()
    if not store.root.is_dir():
        yield Finding("results", "note", f"{store.root} is not there yet", "the first run makes it")
        return
    yield writable(store)
    plans, damaged = read_plans(store)
    seen = [examine(folder) for folder in sorted(store.trials.glob("*")) if folder.is_dir()]
    yield space(store, plans, seen)
    yield from damaged
    yield from trials(seen)
    yield from workers(store)
    yield left_behind(store)
    yield old_code(store, plans)
    yield from machines(store, plans)
    yield from tracking(store, plans)


def versions() -> Iterator[Finding]:
    """Python and packages; what is absent but not needed is a note."""
    found = {name: version(name) for name in (*PACKAGES, "seaborn", "scipy")}
    told = ", ".join(f"{name} {v}" for name, v in found.items() if v and name not in OPTIONAL)
    yield Finding("python", "fine", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    needed = [name for name, v in found.items() if not v and name not in OPTIONAL]
    remedy = f"pip install {' '.join(needed)}" if needed else ""
    missing = f"; missing {', '.join(needed)}" if needed else ""
    yield Finding("packages", "attention" if needed else "fine", told + missing, remedy)
    for name, (without, remedy) in OPTIONAL.items():
        if found[name]:
            yield Finding(name, "fine", str(found[name]))
        else:
            yield Finding(name, "note", f"not installed: {without}", remedy)
    latex = shutil.which("pdflatex")
    absent = Finding("latex", "note", "no pdflatex: tables are written, not tried", "apt install texlive-science")
    yield Finding("latex", "fine", latex) if latex else absent


def version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def writable(store: Store) -> Finding:
    probe = store.root / f".probe.{os.getpid()}"
    try:
        probe.write_bytes(b"x" * 4096)
    except OSError as error:
        text = f"{store.root} cannot be written: {error.strerror}"
        return Finding("results", "attention", text, "free space, change its owner, or use --results DIR")
    finally:
        probe.unlink(missing_ok=True)
    return Finding("results", "fine", f"{store.root} can be written")


def read_plans(store: Store) -> tuple[list[PlanFile], list[Finding]]:
    plans, damaged = [], []
    for folder in plan_file.folders(store.root):
        try:
            plans.append(plan_file.read_plan(folder))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            remedy = f"`studies run {folder.name.partition('@')[0]}` with the same options writes it again"
            damaged.append(Finding("plan", "attention", f"{folder / plan_file.NAME} is damaged", remedy))
    return plans, damaged


def space(store: Store, plans: list[PlanFile], seen: list[Examined]) -> Finding:
    """Free space against what the missing trials will take, going by those that are done."""
    free = shutil.disk_usage(store.root).free
    done = [trial.size for trial in seen if trial.status == "done"]
    known = {trial.id for trial in seen if trial.status == "done"}
    missing = len({t.folder for plan in plans for t in plan.trials} - known)
    need = int(missing * sum(done) / len(done)) if done else 0
    text = f"{len(seen)} trials, {_size(sum(t.size for t in seen))}; {_size(free)} free"
    if missing and done:
        text += f", about {_size(need)} needed for {missing} more"
    if free < need + TIGHT:
        return Finding("disk", "attention", text, f"make room on the disk of {store.root}, or use --results DIR")
    return Finding("disk", "fine", text)


def trials(seen: list[Examined]) -> Iterator[Finding]:
    """Trials whose worker died, claims of the dead, files that cannot be read."""
    stuck = [t for t in seen if t.stuck]
    if stuck:
        text = f"{_count(stuck, 'trial')} marked running by a worker that is gone: {_some([t.id for t in stuck])}"
        yield Finding("running", "attention", text, "type the same `studies run` again: it goes on from the checkpoint")
    else:
        alive = sum(t.claimed for t in seen)
        yield Finding("running", "fine", f"{alive} trials, each with a live worker" if alive else "no trial")
    stale = [t for t in seen if t.stale_claim and not t.stuck]
    if stale:
        text = f"{_count(stale, 'claim')} of dead workers: {_some([t.id for t in stale])}"
        yield Finding("claims", "attention", text, "harmless to a new run; `studies doctor --fix` removes them")
    for trial in seen:
        for file, problem, remedy in trial.problems:
            yield Finding("file", "attention", f"{file} {problem}", remedy)


def workers(store: Store) -> Iterator[Finding]:
    """Worker processes of this machine that lost whoever started them."""
    for pid, trial in orphans(store):
        text = f"worker {pid} (trial {trial}) has lost the process that started it"
        yield Finding("orphan", "attention", text, f"it saves and ends by itself; else: kill {pid}")


def left_behind(store: Store) -> Finding:
    files = leftovers(store.root, time.time())
    if not files:
        return Finding("leftovers", "fine", "none")
    size = sum(file.stat().st_size for file in files if file.exists())
    shown = _some([str(file.relative_to(store.root)) for file in files])
    text = f"{_count(files, 'half-written file')} ({_size(size)}) of killed processes: {shown}"
    return Finding("leftovers", "attention", text, "studies doctor --fix")


def machines(store: Store, plans: list[PlanFile]) -> Iterator[Finding]:
    """Clocks and versions of the machines at work on this folder; trials that wait for nobody."""
    try:
        apart = {"this machine": hosts.skew(store), **hosts.clocks(store)}
    except OSError:
        return  # that nothing can be written there is said already
    wrong = {host: seconds for host, seconds in apart.items() if abs(seconds) > hosts.SKEW}
    for host, seconds in wrong.items():
        ahead = "ahead of" if seconds > 0 else "behind"
        text = f"{host} is {abs(seconds):.0f} s {ahead} the clock that stamps the files of {store.root}"
        remedy = f"synchronise the clocks (NTP): above {10 * hosts.SKEW:.0f} s live workers look dead"
        yield Finding("clock", "attention", text, remedy)
    if not wrong:
        yield Finding("clock", "fine", f"within {hosts.SKEW:g} s of the file system's")
    found = hosts.environments(store, time.time())
    for text in hosts.differences(found, environment.describe("cpu")):
        yield Finding("versions", "attention", text, "use one environment on all machines")
    for study, count in hosts.waiting(store, plans).items():
        text = f"{count} of {study} {'is' if count == 1 else 'are'} queued, and no driver or job is at work on them"
        yield Finding("queued", "note", text, f"studies run {study.partition('@')[0]} with the same options")


def old_code(store: Store, plans: list[PlanFile]) -> Finding:
    states = StateWatcher([store.trial(path.name) for path in store.trials.glob("*") if path.is_dir()]).poll()
    found = hosts.old_code(store, plans, states)
    if not found:
        return Finding("code", "fine", "every copy of the code was used by a trial")
    text = f"{_count(found, 'copy').replace('copys', 'copies')} of the code that no trial ran with"
    return Finding("code", "note", text, "studies doctor --fix")


def tracking(store: Store, plans: list[PlanFile]) -> Iterator[Finding]:
    """Whether MLflow has been told what there is; asked without importing it."""
    from studies.engine.tracking.mirror import Mirror

    if version("mlflow") is None:
        return
    uri = mlflow_uri.default(store.root)
    if not mlflow_uri.answers(uri):
        text = f"no server answers at {mlflow_uri.shown(uri)} (MLFLOW_TRACKING_URI)"
        yield Finding("tracking", "attention", text, "start it, or unset MLFLOW_TRACKING_URI; then studies sync --all")
        return
    quiet = [
        plan for plan in plans if study_lock.running_driver(plan.folder) is None
    ]  # else it is being told right now
    behind = [plan.full_name for plan in quiet if Mirror(store, plan.folder).behind()]
    if behind:
        text = f"{mlflow_uri.shown(uri)} lacks what is new in {_some(behind)}"
        yield Finding("tracking", "note", text, "studies sync --all")
    else:
        yield Finding("tracking", "fine", f"{mlflow_uri.shown(uri)} is up to date")


def _count(things: Sized, noun: str) -> str:
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"


def _some(names: list[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
