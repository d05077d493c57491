"""Check the results folder, its trials and this machine. Changes nothing."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Literal

from studies.engine.core.files import DamagedFile, link
from studies.engine.core.formatting import count, first_few, size
from studies.engine.core.secrets import hide_secrets
from studies.engine.diagnostics import hosts
from studies.engine.diagnostics.orphans import orphans
from studies.engine.diagnostics.trial_check import TrialCheck, check_trial, temp_files
from studies.engine.execution import study_lock
from studies.engine.storage import environment, plan_file
from studies.engine.storage.environment import PACKAGES
from studies.engine.storage.plan_file import PlanFile
from studies.engine.storage.results_dir import Store
from studies.engine.tracking import mlflow_uri

Level = Literal["fine", "note", "attention"]
OPTIONAL = {
    "ray": ("runs trials one after another without it", "pip install 'ray[default]'"),
    "mlflow": ("runs are not shown in MLflow without it", "pip install mlflow"),
    "submitit": ("no SLURM launcher without it", "pip install submitit"),
}
MIN_FREE_BYTES = 500 * 2**20
"""Bytes: with less free space, a checkpoint or a database may not fit."""


@dataclass(frozen=True)
class Finding:
    """One line: what was checked, the result, and the remedy if it is not fine."""

    what: str
    level: Level
    text: str
    remedy: str = ""


def diagnose(store: Store) -> Iterator[Finding]:
    """Yield the results of all checks."""
    yield from versions()
    if not store.root.is_dir():
        yield Finding("results", "note", f"{store.root} does not exist yet", "the first run creates it")
        return
    yield writable(store)
    for place in (store.trials, store.root / "code", store.root / "mlartifacts"):
        if os.path.lexists(place) and not place.is_dir():
            yield Finding("results", "attention", f"{place} is not a folder", f"mv {place} {place}.aside")
    plans, damaged = read_plans(store)
    checked = [check_trial(folder) for folder in sorted(store.trials.glob("[!.]*"))]
    yield space(store, plans, checked)
    yield from damaged
    yield from trials(checked)
    yield from workers(store)
    yield temporary(store)
    states = {trial.id: trial.state for trial in checked}
    yield from own_code(store, states)
    yield snapshots(store, states, plans)
    yield from machines(store, states, plans)
    yield from tracking(store, plans)


def versions() -> Iterator[Finding]:
    """Check Python and packages; a missing optional package is a note."""
    found = {name: version(name) for name in (*PACKAGES, "seaborn", "scipy")}
    present = ", ".join(f"{name} {v}" for name, v in found.items() if v and name not in OPTIONAL)
    yield Finding("python", "fine", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    needed = [name for name, v in found.items() if not v and name not in OPTIONAL]
    remedy = f"pip install {' '.join(needed)}" if needed else ""
    missing = f"; missing {', '.join(needed)}" if needed else ""
    yield Finding("packages", "attention" if needed else "fine", present + missing, remedy)
    for name, (without, remedy) in OPTIONAL.items():
        if found[name]:
            yield Finding(name, "fine", str(found[name]))
        else:
            yield Finding(name, "note", f"not installed: {without}", remedy)
    latex = shutil.which("pdflatex")
    absent = Finding(
        "latex", "note", "no pdflatex: tables are written, but not compiled", "apt install texlive-science"
    )
    yield Finding("latex", "fine", latex) if latex else absent


def version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def writable(store: Store) -> Finding:
    probe = store.root / f".probe.{os.getpid()}"
    second = probe.with_name(f"{probe.name}.link")
    try:
        probe.write_bytes(b"x" * 4096)
        link(probe, second)
    except OSError as error:
        text = f"{store.root} cannot be written: {error.strerror}"
        return Finding("results", "attention", text, "free space, change its owner, or use --results DIR")
    finally:
        for file in (second, probe):
            with contextlib.suppress(OSError):
                file.unlink()
    return Finding("results", "fine", f"{store.root} can be written")


def read_plans(store: Store) -> tuple[list[PlanFile], list[Finding]]:
    plans, damaged = [], []
    for folder in plan_file.folders(store.root):
        try:
            plans.append(plan_file.read_plan(folder))
        except DamagedFile as error:
            text, _, remedy = str(error).partition("; ")
            damaged.append(Finding("plan", "attention", text, remedy))
    return plans, damaged


def space(store: Store, plans: list[PlanFile], checked: list[TrialCheck]) -> Finding:
    """Compare the free space with what the missing trials will take, judging by finished ones."""
    free = shutil.disk_usage(store.root).free
    done = [trial.size for trial in checked if trial.state.status == "done"]
    known = {trial.id for trial in checked if trial.state.status == "done"}
    missing = len({t.folder for plan in plans for t in plan.trials} - known)
    need = int(missing * sum(done) / len(done)) if done else 0
    text = f"{len(checked)} trials, {size(sum(t.size for t in checked))}; {size(free)} free"
    if missing and done:
        text += f", about {size(need)} needed for {missing} more"
    if free < need + MIN_FREE_BYTES:
        return Finding("disk", "attention", text, f"make room on the disk of {store.root}, or use --results DIR")
    return Finding("disk", "fine", text)


def trials(checked: list[TrialCheck]) -> Iterator[Finding]:
    """Report trials whose worker died, stale claims, unreadable files."""
    dead = [t.id for t in checked if t.stale_running]
    if dead:
        text = f"{count(len(dead), 'trial')} marked running by a dead worker: {first_few(dead)}"
        yield Finding("running", "attention", text, "repeat the same `studies run`: it resumes from the checkpoint")
    else:
        alive = sum(t.claimed for t in checked)
        yield Finding("running", "fine", f"{alive} trials, each with a live worker" if alive else "no trial")
    stale = [t for t in checked if t.stale_claim and not t.stale_running]
    if stale:
        text = f"{count(len(stale), 'claim')} of dead workers: {first_few([t.id for t in stale])}"
        yield Finding("claims", "attention", text, "harmless to a new run; `studies doctor --fix` removes them")
    for trial in checked:
        for file, problem, remedy in trial.problems:
            yield Finding("file", "attention", f"{file} {problem}", remedy)


def workers(store: Store) -> Iterator[Finding]:
    """Report worker processes of this machine whose parent process is gone."""
    for pid, trial in orphans(store):
        text = f"worker {pid} (trial {trial}) has lost the process that started it"
        yield Finding("orphan", "attention", text, f"it saves and exits by itself; otherwise: kill {pid}")


def temporary(store: Store) -> Finding:
    files = temp_files(store.root, hosts.file_time(store))
    if not files:
        return Finding("leftovers", "fine", "none")
    total = sum(file.stat().st_size for file in files if file.exists())
    shown = first_few([str(file.relative_to(store.root)) for file in files])
    text = f"{count(len(files), 'half-written file')} ({size(total)}) of killed processes: {shown}"
    return Finding("leftovers", "attention", text, "studies doctor --fix")


def machines(store: Store, states: hosts.States, plans: list[PlanFile]) -> Iterator[Finding]:
    """Compare clocks and versions of the machines that use this folder; report trials that wait without a driver."""
    try:
        skews = {"this machine": hosts.clock_skew(store), **hosts.remote_clock_skews(store, states)}
    except OSError:
        return  # already reported as not writable
    wrong = {host: seconds for host, seconds in skews.items() if abs(seconds) > hosts.MAX_SKEW}
    for host, seconds in wrong.items():
        ahead = "ahead of" if seconds > 0 else "behind"
        text = f"{host} is {abs(seconds):.0f} s {ahead} the clock that stamps the files of {store.root}"
        remedy = f"synchronize the clocks (NTP): above {10 * hosts.MAX_SKEW:.0f} s live workers look dead"
        yield Finding("clock", "attention", text, remedy)
    if not wrong:
        yield Finding("clock", "fine", f"within {hosts.MAX_SKEW:g} s of the file system's")
    found = hosts.environments(store, states, time.time())
    for text in hosts.differences(found, environment.describe("cpu")):
        yield Finding("versions", "attention", text, "use one environment on all machines")
    for study, number in hosts.waiting(store, states, plans).items():
        text = f"{number} of {study} {'is' if number == 1 else 'are'} queued, and no driver or job is at work on them"
        yield Finding("queued", "note", text, f"studies run {study.partition('@')[0]} with the same options")


def own_code(store: Store, states: hosts.States) -> Iterator[Finding]:
    """Check that the copies of own code are there that trials have yet to import."""
    specs = {name: store.trial(name).spec() or {} for name, state in states.items()}
    copies = {name: spec["own"] for name, spec in specs.items() if spec.get("own")}
    lost = [n for n, own in copies.items() if states[n].status != "done" and not (store.root / own).is_dir()]
    if lost:
        text = f"the copy that {count(len(lost), 'unfinished trial')} would import is gone: {first_few(lost)}"
        yield Finding("own code", "attention", text, "repeat the same `studies run`: it copies the files again")
    elif copies:
        versions, numbers = count(len({*copies.values()}), "version"), count(len(copies), "trial")
        yield Finding("own code", "fine", f"{versions}, imported by {numbers}")


def snapshots(store: Store, states: hosts.States, plans: list[PlanFile]) -> Finding:
    found = hosts.unused_snapshots(store, states, plans)
    if not found:
        return Finding("code", "fine", "every code snapshot was used by a trial")
    text = f"{count(len(found), 'code snapshot')} that no trial used"
    return Finding("code", "note", text, "studies doctor --fix")


def tracking(store: Store, plans: list[PlanFile]) -> Iterator[Finding]:
    """Report whether MLflow is up to date, without importing it."""
    from studies.engine.tracking.mirror import Mirror

    if version("mlflow") is None:
        return
    uri = mlflow_uri.default(store.root)
    if note := mlflow_uri.unserved(store.root):
        yield Finding("tracking", "note", note, "unset it, or set it to the address of an MLflow server")
    if problem := mlflow_uri.problem(uri):
        remedy = "start it, or unset MLFLOW_TRACKING_URI" if mlflow_uri.is_server(uri) else "move it away"
        yield Finding("tracking", "attention", problem, f"{remedy}; then studies sync --all")
        return
    where = hide_secrets(uri)
    quiet = [plan for plan in plans if study_lock.running_driver(plan.folder) is None]  # a driver updates the others
    behind = [plan.full_name for plan in quiet if Mirror(store, plan.folder).is_behind(plan=plan)]
    if behind:
        yield Finding("tracking", "note", f"{where} is behind for {first_few(behind)}", "studies sync --all")
    else:
        yield Finding("tracking", "fine", f"{where} is up to date")
