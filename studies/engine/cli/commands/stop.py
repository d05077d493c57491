"""``studies stop STUDY``: through files, so it works from any shell and for any launcher."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from studies.engine.cli import completion
from studies.engine.cli.options import UsageError, json_option, json_output, results_option
from studies.engine.cli.study_lookup import how_to_run
from studies.engine.core.formatting import count
from studies.engine.execution import study_lock
from studies.engine.launchers.slurm import job_lookup
from studies.engine.results.study_status import StudyStatus, find_runs
from studies.engine.storage.lease import HEARTBEAT_SECONDS
from studies.engine.storage.results_dir import Store


@click.command()
@click.argument("study", metavar="STUDY", shell_complete=completion.runs)
@click.option("--wait", type=float, default=60.0, show_default=True, help="Seconds to wait until they have stopped.")
@json_option
@results_option
def command(study: str, wait: float, as_json: bool, results: Path) -> int:
    """Ask the running trials of STUDY to save and stop; `run` continues from there."""
    with json_output(as_json) as found:
        try:
            code = _stop(study, wait, results, found)
        except OSError as error:  # somebody else's, or read-only
            why = error.strerror or error
            raise UsageError(f"results folder {results} cannot be written, by which trials are asked: {why}") from error
        found["stopped"] = code == 0
    return code


def _stop(study: str, wait: float, results: Path, found: dict[str, Any]) -> int:
    """found: what was asked and withdrawn is put into it."""
    store = Store(results)
    statuses = find_runs(store, study, lambda line: click.echo(line, err=True))
    if not statuses:
        raise UsageError(f"{study} has not been run in {results}{how_to_run(study)}")
    drivers = [s for s in statuses if study_lock.request_stop(s.plan.folder)]  # first, so that they start no others
    submitted = job_lookup.jobs_of(store.root, {s.plan.folder.name for s in statuses})  # also before an edit
    trials = {name for s in statuses for name in s.watch.folders} | submitted.keys()
    withdrawn = job_lookup.cancel_waiting(store.root, trials)
    asked = _ask(store, trials)
    found |= {"study": study, "asked": asked, "withdrawn": withdrawn}
    if withdrawn:
        click.echo(f"removed {count(withdrawn, 'waiting trial')} from the queue")
    if not asked and not drivers and not job_lookup.find_jobs(store.root, trials):
        click.echo("stopped; `run` continues from here" if withdrawn else f"nothing of {study} is running")
        return 0
    click.echo(f"asked {count(asked, 'running trial')} to save and stop")
    until = time.monotonic() + wait
    while time.monotonic() < until:
        busy = any(s.driver() for s in drivers) or any(_runs(s) for s in statuses)
        if not busy and not job_lookup.find_jobs(store.root, trials):
            click.echo("stopped; `run` continues from here")
            return 0
        _ask(store, trials)  # those that a job has started meanwhile
        time.sleep(1.0 if withdrawn else 0.3)
    click.echo(f"some have not stopped after {wait:g} s (workers check every {HEARTBEAT_SECONDS:g} s)")
    return 1


def _ask(store: Store, trials: Iterable[str]) -> int:
    return sum(store.trial(name).request_stop() for name in trials)


def _runs(status: StudyStatus) -> bool:
    status.watch.poll()
    return status.watch.counts()["running"] > 0
