"""``studies run STUDY``: run everything that is missing."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
from rich.console import Console

from studies.engine.cli.options import (
    UsageError,
    check_cluster,
    device_option,
    launch_options,
    results_option,
    selection_options,
    study_argument,
)
from studies.engine.cli.plan_report import stage_lines, warnings
from studies.engine.cli.study_lookup import plan_selection
from studies.engine.core.formatting import count, duration
from studies.engine.core.stop import StopRequest
from studies.engine.execution.driver import DriverResult
from studies.engine.execution.progress import Progress
from studies.engine.execution.signals import handle_interrupts
from studies.engine.execution.study_lock import StudyBusy, StudyLock
from studies.engine.jobs.launcher import (
    BatchLauncher,
    LaunchContext,
    Launcher,
    LaunchError,
    create_launcher,
    default_launcher,
)
from studies.engine.planning import launcher_options
from studies.engine.planning.selection import Selection
from studies.engine.storage.state_watcher import StateWatcher

if TYPE_CHECKING:
    from studies.engine.core.trial import Trial
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
@click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation before a long run.")
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
    yes: bool,
    **chosen: Any,
) -> int:
    """Run everything that is missing of STUDY, then tables, figures and report.

    The same command continues an interrupted run.
    """
    plan = plan_selection(Selection(**chosen), cast("Rerun | None", rerun), device)
    if device and plan.estimate is not None and plan.estimate.violations:
        raise UsageError("\n".join([f"does not fit {device}, so nothing is launched:", *plan.estimate.violations]))
    console = Console(file=sys.stdout, highlight=False)
    trials = plan.active
    wanted = launcher_options.preferred(on or (address and "ray"), cluster, trials)
    name, note = default_launcher(wanted, len(trials))
    check_cluster(name)
    if address and name != "ray":
        raise UsageError(f"--address is for Ray, not for {name}")
    options = launcher_options.options(trials, name, cluster, (*launch, *([f"address={address}"] if address else [])))
    if detach and name != "slurm":
        raise UsageError(f"--detach is for slurm: jobs of {name} end with this command")
    click.echo(f"plan      {_amount(plan)}, {name}" if trials else "plan      nothing to run")
    for text in stage_lines(plan):
        click.echo(text)
    if note:
        click.echo(f"          {note}")
    for text in warnings(plan) if trials else ():
        click.echo(text)
    if not yes and not _confirmed(plan):
        return 130
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
        return _run(plan, trials, name, site, console, detach, wanted is not None)


def _run(
    plan: Plan, trials: Sequence[Trial], name: str, site: LaunchContext, console: Console, detach: bool, asked: bool
) -> int:
    """asked: the launcher was named by the user."""
    from studies.engine.cli import finish_run
    from studies.engine.storage.results_dir import Store

    store = Store(site.results)
    outcome: DriverResult | None = None
    mirror = finish_run.make_mirror(store, plan.folder, console)
    try:
        _prepare(plan, store)
        if trials:
            outcome = _drive(plan, store, trials, name, site, console, mirror, detach, asked)
    except LaunchError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        click.echo(f"results folder {site.results}: {error.strerror or error}; finished trials are kept", err=True)
        return 1 if any(store.trial(trial.folder_id).result_file.exists() for trial in plan.selected) else 2
    states = StateWatcher([store.trial(t.folder_id) for t in (*plan.selected, *plan.added)]).poll()
    return finish_run.finish_run(plan, store, states, outcome, mirror, console)


def _prepare(plan: Plan, store: Any) -> None:
    """Write plan.json and the trial folders, which other commands and the workers read."""
    from studies.engine.launchers.slurm import submissions
    from studies.engine.storage import kept_weights
    from studies.engine.storage.plan_file import write_plan

    write_plan(plan.to_plan_file())
    submissions.remove_finished(store.root)
    firsts = {first for trial in plan.made.values() for first in trial.starts}
    for trial in plan.to_run:
        folder = store.trial(trial.folder_id)
        folder.create(trial.spec())
        if trial.folder_id in firsts:
            kept_weights.request(folder)
        if trial.folder_id in plan.restart:
            folder.archive_attempt()


def _drive(
    plan: Plan,
    store: Any,
    trials: Sequence[Trial],
    name: str,
    site: LaunchContext,
    console: Console,
    mirror: Any,
    detach: bool,
    asked: bool,
) -> DriverResult:
    from studies.engine.execution.driver import Driver
    from studies.engine.results.readings import result_values
    from studies.engine.tracking.background import kept_up_to_date

    watched = [*plan.selected, *plan.added, *(plan.made[first] for trial in trials for first in trial.starts)]
    labels = {trial.folder_id: trial.name for trial in watched}
    watch = StateWatcher([store.trial(name) for name in labels])
    planned = plan.to_plan_file()

    def results(trial: str) -> dict[str, float]:
        return result_values(store.trial(trial), planned)

    made = _launcher(name, site, asked)
    try:
        lives_on = isinstance(made, BatchLauncher)
        with Progress(watch, labels, site.stop, console, lives_on, results) as progress, kept_up_to_date(mirror):
            return Driver(trials, watch, made, site.stop, progress.say).run(detach)
    finally:
        made.close()


def _launcher(name: str, site: LaunchContext, asked: bool) -> Launcher:
    """Return the launcher; where Ray was nobody's wish and cannot start, the one without it."""
    try:
        return create_launcher(name, site)
    except LaunchError as error:
        if asked or name != "ray":
            raise
        click.echo(f"          {error}; trials run one after another in this process")
        return create_launcher("inline", site)


def _amount(plan: Plan) -> str:
    parts = [count(len(plan.to_run), "trial")]
    if plan.running:
        parts.append(f"{len(plan.running)} already running")
    if plan.estimate is not None:
        hours = plan.estimate.gpu_hours
        parts.append(f"{hours:.1f} GPU-hours" if hours > 0 else f"{duration(plan.estimate.seconds)} one after another")
    return ", ".join(parts)


def _confirmed(plan: Plan) -> bool:
    estimate = plan.estimate
    if estimate is None or not sys.stdin.isatty() or not sys.stdout.isatty():
        return True
    if estimate.gpu_hours <= ASK_ABOVE_GPU_HOURS and estimate.seconds <= ASK_ABOVE_SECONDS:
        return True
    return click.confirm("Start?", default=True)
