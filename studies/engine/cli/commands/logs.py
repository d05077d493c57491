"""``studies logs TRIAL``."""

from __future__ import annotations

import os
import time
from collections import deque
from pathlib import Path
from typing import Any

import click

from studies.engine.cli import completion
from studies.engine.cli.options import UsageError, json_option, print_json, results_option
from studies.engine.core.files import lines
from studies.engine.core.formatting import and_more, first_few
from studies.engine.core.trial import State
from studies.engine.launchers.slurm import job_lookup
from studies.engine.launchers.slurm.queue import QueuedJob
from studies.engine.results.study_status import StudyStatus, find_runs, unfinished_first
from studies.engine.storage.results_dir import Store
from studies.engine.storage.state_watcher import INACTIVE
from studies.engine.storage.trial_folder import TrialFolder

LAST_ROUNDS = 10
"""Looks at the log of a trial that has ended and still has a worker."""
TAIL, SHOWN = 10, 10
"""For a study: lines per trial, trials shown."""


@click.command()
@click.argument("trial", metavar="TRIAL", shell_complete=completion.trials_and_runs)
@click.option("--attempt", type=int, metavar="N", help="Counted from 0; default: the latest.")
@click.option("--follow", "-f", is_flag=True, help="Keep printing until the trial has ended.")
@json_option
@results_option
def command(trial: str, attempt: int | None, follow: bool, as_json: bool, results: Path) -> int:
    """Show the log of TRIAL (the beginning of its id is enough); of a study: the end of each running or failed log."""
    if follow and as_json:
        raise UsageError("--follow and --json: choose one")
    store = Store(results)
    found = _matching(store, trial)
    if len(found) > 1:
        raise UsageError(f"{trial} matches {len(found)} trials: {first_few(found, 5)}")
    if found:
        _check_attempt(store.trial(found[0]), attempt)
        if as_json:
            print_json(_whole_log(store.trial(found[0]), attempt))
            return 0
        return _show(store.trial(found[0]), attempt, follow)
    statuses = find_runs(store, trial, lambda line: click.echo(line, err=True))
    if not statuses:
        raise UsageError(f"no trial id begins with {trial} and no study of that name was run in {results}")
    if follow or attempt is not None:
        raise UsageError(f"{'--follow' if follow else '--attempt'} is for one trial, and {trial} is a study")
    if as_json:
        print_json([_whole_log(status.store.trial(name)) for status in statuses for name, _ in _unfinished(status)])
        return 0
    for status in statuses:
        _ends(status)
    return 0


def _matching(store: Store, prefix: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(store.trials) if name.startswith(prefix))
    except OSError:
        return []


def _check_attempt(folder: TrialFolder, attempt: int | None) -> None:
    """Refuse an attempt that a trial that has been started does not have."""
    if attempt is not None and (there := _latest(folder)) >= 0 and not 0 <= attempt <= there:
        raise UsageError(f"{folder.id} has attempts 0 to {there}, not {attempt}")


def _show(folder: TrialFolder, attempt: int | None, follow: bool) -> int:
    number = _latest(folder) if attempt is None else attempt
    file = folder.attempt_folder(number) / "log.txt"
    if not file.exists() and not follow:
        if number >= 0 and _latest(folder) >= 0:
            raise UsageError(f"{folder.id} has no log of attempt {number}")
        raise UsageError(f"{folder.id} has not been started{_why_not(folder)}")
    position = _print(file, 0)
    if not file.exists():
        _wait_in_queue(folder)
    rounds_after_end = 0
    while follow:
        rounds_after_end += folder.state().status in INACTIVE
        # a worker logs its last line before it gives the trial back; one that was killed never does
        ended = rounds_after_end and (rounds_after_end > LAST_ROUNDS or not folder.lease_file.exists())
        position = _print(file, position)
        if attempt is None and _latest(folder) > number:
            number, position = _latest(folder), 0
            file = folder.attempt_folder(number) / "log.txt"
        elif ended:
            break
        else:
            time.sleep(0.3)
    return 0


def _whole_log(folder: TrialFolder, attempt: int | None = None) -> dict[str, Any]:
    """Return a trial's log for programs; no lines where it has not been started."""
    number = _latest(folder) if attempt is None else attempt
    file = folder.attempt_folder(max(number, 0)) / "log.txt"
    text = [line.decode(errors="replace").rstrip("\n") for line in lines(file)]
    state = folder.state()
    about = {"trial": folder.id, "status": state.status, "reason": state.reason, "attempt": number}
    return {**about, "file": str(file), "lines": text}


def _why_not(folder: TrialFolder) -> str:
    if job := _job(folder):
        return f": {job}, {job.log}"
    if reason := folder.state().reason:
        return f": {reason}"
    first = unfinished_first(folder)
    return "" if first is None else f": it starts from {first.id}, which is {first.state().status}"


def _wait_in_queue(folder: TrialFolder) -> None:
    """Wait until the trial starts or no job has it any more; report the scheduler's state when it changes."""
    before = ""
    while _latest(folder) < 0 and (job := _job(folder)) is not None:
        if str(job) != before:
            before = str(job)
            click.echo(f"{folder.id} has not been started: {before}", err=True)
        time.sleep(2.0)


def _job(folder: TrialFolder) -> QueuedJob | None:
    return job_lookup.find_jobs(folder.path.parents[1], {folder.id}).get(folder.id)


def _latest(folder: TrialFolder) -> int:
    try:
        return max((int(n) for n in os.listdir(folder.path / "attempts") if n.isdigit()), default=-1)
    except OSError:
        return -1


def _print(file: Path, position: int) -> int:
    """Print what was added since `position`; return the new end."""
    text = b"".join(lines(file, position))
    click.echo(text.decode(errors="replace"), nl=False)
    return position + len(text)


def _unfinished(status: StudyStatus) -> list[tuple[str, State]]:
    return [(n, s) for n, s in status.watch.poll().items() if s.status in ("running", "failed", "lost")]


def _ends(status: StudyStatus) -> None:
    labels, shown = status.labels, _unfinished(status)
    if not shown:
        click.echo(f"{status.plan.full_name}: nothing is running and nothing has failed")
    for name, state in shown[:SHOWN]:
        file = status.store.trial(name).attempt_folder(max(0, state.attempt - 1)) / "log.txt"
        click.echo(f"== {name}  {labels[name]}  {state.status}  {file if state.attempt else state.reason}")
        for line in deque(lines(file), TAIL):
            click.echo(f"   {line.decode(errors='replace').rstrip()}")
    if rest := and_more(shown, SHOWN):
        click.echo(rest)
