"""``studies run STUDY``: run everything that is missing."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
from rich.console import Console

from studies.engine.cli.looks import Looks, looks_of
from studies.engine.cli.options import (
    UsageError,
    check_cluster,
    device_option,
    json_option,
    json_output,
    launch_options,
    results_option,
    selection_options,
    study_argument,
)
from studies.engine.cli.plan_report import seed_lines, stage_lines, stale_lines, warnings
from studies.engine.cli.study_lookup import plan_selection
from studies.engine.cli.table_files import find_table_file
from studies.engine.core.formatting import count, duration
from studies.engine.core.stop import StopRequest
from studies.engine.execution.driver import DriverResult
from studies.engine.execution.signals import handle_interrupts
from studies.engine.execution.study_lock import StudyBusy, StudyLock
from studies.engine.jobs.launcher import (
    LaunchContext,
    LaunchError,
    default_launcher,
)
from studies.engine.planning import launcher_options
from studies.engine.planning.changes import change_lines
from studies.engine.planning.selection import Selection
from studies.engine.results.study_status import StudyStatus
from studies.engine.storage.plan_file import find_plan
from studies.engine.storage.state_watcher import StateWatcher
from studies.engine.study.study_files import hidden

if TYPE_CHECKING:
    from studies.engine.planning.plan import Plan, Rerun

ASK_ABOVE_GPU_HOURS, ASK_ABOVE_SECONDS = 2.0, 3600.0
"""A longer run asks for confirmation, on a terminal."""


@click.command()
@study_argument
@device_option
@launch_options
@click.option(
    "--address", metavar="auto|HOST:PORT|ray://HOST:PORT", help="Ray: use this running cluster instead of starting one."
)
@click.option("--detach", is_flag=True, help="SLURM: submit and exit; the same command attaches again.")
@click.option(
    "--rerun",
    type=click.Choice(["failed", "stale", "all"]),
    help="Restart trials: failed, of older code, all.",
)
@click.option(
    "--until",
    type=click.Choice(("decided",)),
    help="decided: add seeds, look by look, to the arms of claims that are not decided yet (`decide:` of the study).",
)
@click.option("--spec", type=click.Path(path_type=Path), help="Table file, also for later `tables`.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation before a long run.")
@json_option
@selection_options
@results_option
def command(
    device: str | None,
    on: str | None,
    cluster: str | None,
    launch: tuple[str, ...],
    address: str | None,
    detach: bool,
    rerun: str | None,
    until: str | None,
    spec: Path | None,
    yes: bool,
    as_json: bool,
    **chosen: Any,
) -> int:
    """Run everything that is missing of STUDY, then tables, figures and report.

    The same command continues an interrupted run.
    """
    with json_output(as_json) as found:
        code, plan = _command(device, on, cluster, launch, address, detach, rerun, until, spec, yes, chosen)
        found["code"] = code
        if as_json and (written := find_plan(plan.folder)):
            found |= StudyStatus(Selection(**chosen).store, written).as_json()
    return code


def _command(
    device: str | None,
    on: str | None,
    cluster: str | None,
    launch: tuple[str, ...],
    address: str | None,
    detach: bool,
    rerun: str | None,
    until: str | None,
    spec: Path | None,
    yes: bool,
    chosen: dict[str, Any],
) -> tuple[int, Plan]:
    selection = Selection(**chosen)
    looks = looks_of(selection, rerun, device, spec) if until else None
    plan = looks.plan(looks.numbers[0]) if looks else plan_selection(selection, cast("Rerun | None", rerun), device)
    if device and plan.estimate is not None and plan.estimate.violations:
        raise UsageError("\n".join([f"does not fit {device}, so nothing is launched:", *plan.estimate.violations]))
    find_table_file(plan.study, spec)  # where it is not there, before anything is launched
    console = Console(file=sys.stdout, highlight=False)
    trials = plan.selected if looks else plan.active
    wanted = launcher_options.preferred(on or (address and "ray"), cluster, trials)
    name, note = default_launcher(wanted, len(trials))
    check_cluster(name)
    if address and name != "ray":
        raise UsageError(f"--address is for Ray, not for {name}")
    options = launcher_options.options(trials, name, cluster, (*launch, *([f"address={address}"] if address else [])))
    if detach and name != "slurm":
        raise UsageError(f"--detach is for slurm: jobs of {name} end with this command")
    at = f"looks at {', '.join(map(str, looks.numbers))} seeds; the first: " if looks else ""
    click.echo(f"plan      {at}{_amount(plan)}, {name}" if plan.active else f"plan      {at}nothing to run")
    for text in (*(() if looks else seed_lines(plan)), *stage_lines(plan)):
        click.echo(text)
    for text in (hidden(plan.study.name), *change_lines(find_plan(plan.folder), plan.trials, selection.store)):
        if text:
            click.echo(text)
    for text in stale_lines(plan) if not rerun else ():
        click.echo(text)
    if note:
        click.echo(f"          {note}")
    for text in warnings(plan) if trials else ():
        click.echo(text)
    if not yes and not _confirmed(plan):
        return 130, plan
    stop = StopRequest()
    results = Path(chosen["results"]).resolve()
    with ExitStack() as stack:
        try:
            stack.enter_context(StudyLock(plan.folder, stop))
        except StudyBusy as busy:
            raise UsageError(f"{plan.folder.name} {busy}; `studies status` shows the progress") from busy
        except OSError as error:
            raise UsageError(f"results folder {results} cannot be written: {error.strerror or error}") from error
        stack.enter_context(handle_interrupts(stop))
        site = LaunchContext(results, plan.folder, options, stop)
        return _run(plan, looks, name, site, console, detach, wanted is not None, spec), plan


def _run(
    plan: Plan,
    looks: Looks | None,
    name: str,
    site: LaunchContext,
    console: Console,
    detach: bool,
    asked: bool,
    spec: Path | None,
) -> int:
    """asked: the launcher was named by the user."""
    from studies.engine.cli import finish_run, until_decided
    from studies.engine.cli.trial_runner import TrialRunner
    from studies.engine.storage.results_dir import Store

    store = Store(site.results)
    mirror = finish_run.make_mirror(store, plan.folder, console)
    runner = TrialRunner(store, site, name, asked, detach, console, mirror, spec)
    outcome: DriverResult | None = None
    try:
        if looks:
            plan, outcome = until_decided.run(looks, plan, runner)
        else:
            outcome = runner.run(plan)
    except LaunchError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        click.echo(f"results folder {site.results}: {error.strerror or error}; finished trials are kept", err=True)
        return 1 if any(store.trial(trial.folder_id).result_file.exists() for trial in plan.selected) else 2
    states = StateWatcher([store.trial(t.folder_id) for t in (*plan.selected, *plan.added)]).poll()
    return finish_run.finish_run(plan, store, states, outcome, mirror, console)


def _amount(plan: Plan) -> str:
    parts = [count(len(plan.to_run), "trial")]
    if plan.running:
        parts.append(f"{len(plan.running)} already running")
    if plan.estimate is not None:
        hours = plan.estimate.gpu_hours
        seconds = plan.estimate.seconds
        parts += [f"{hours:.1f} GPU-hours"] if hours else [f"{duration(seconds)} one after another"] if seconds else []
    return ", ".join(parts)


def _confirmed(plan: Plan) -> bool:
    estimate = plan.estimate
    if estimate is None or not sys.stdin.isatty() or not sys.stdout.isatty():
        return True
    if estimate.gpu_hours <= ASK_ABOVE_GPU_HOURS and estimate.seconds <= ASK_ABOVE_SECONDS:
        return True
    return click.confirm("Start?", default=True)
