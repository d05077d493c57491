"""``studies sync STUDY``."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from studies.engine.cli import completion
from studies.engine.cli.options import UsageError, json_option, json_output, label_options, results_option
from studies.engine.cli.study_lookup import all_runs, find_run
from studies.engine.planning.selection import Selection
from studies.engine.storage.plan_file import PlanFile
from studies.engine.storage.results_dir import Store


@click.command()
@click.argument("study", metavar="STUDY", required=False, shell_complete=completion.runs)
@click.option("--all", "all_", is_flag=True, help="Every study of the results folder.")
@json_option
@label_options
@results_option
def command(study: str | None, all_: bool, as_json: bool, **chosen: Any) -> int:
    """Bring MLflow up to date with the trial folders of STUDY (or STUDY@LABEL), or fill a new database.

    Existing runs are kept and completed. For a server set MLFLOW_TRACKING_URI to its address.
    """
    selection = Selection(study or "", **chosen)
    if all_ == bool(study):
        raise UsageError("studies sync takes a STUDY or --all")
    plans = all_runs(selection) if all_ else [find_run(selection)]
    if not plans:
        raise UsageError(f"nothing has been run in {selection.results}")
    with json_output(as_json) as found:
        done = {plan.full_name: sync(selection.store, plan) for plan in plans}
        found["synced"] = done
    return 0 if all(done.values()) else 1


def sync(store: Store, plan: PlanFile) -> bool:
    """Synchronize one study and report the result."""
    from studies.engine.tracking.mirror import Mirror

    started = time.monotonic()
    mirror = Mirror(store, plan.folder)
    if sys.stderr.isatty():
        click.echo(f"{plan.full_name}: reading", nl=False, err=True)
    done = mirror.sync()
    if sys.stderr.isatty():
        click.echo("\r\x1b[K", nl=False, err=True)
    if not done:
        click.echo(f"mlflow    {plan.full_name}: {mirror.problem}", err=True)
        return False
    click.echo(f"mlflow    {mirror.where}  {mirror.synced} trials in {time.monotonic() - started:.1f} s")
    return True
