"""``studies run STUDY``: make it so."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
from rich.console import Console

from studies.engine.cli.launch_options import launch_options
from studies.engine.cli.options import UsageError, device_option, results_option, selection_options, study_argument
from studies.engine.cli.plan_report import cautions
from studies.engine.cli.study_lookup import plan_selection
from studies.engine.core.formatting import duration
from studies.engine.core.stop import StopRequest
from studies.engine.execution.driver import Driver
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
    from studies.engine.execution.driver import DriverResult
    from studies.engine.planning.plan import Plan, Rerun

ASK_ABOVE_GPU_HOURS, ASK_ABOVE_SECONDS = 2.0, 3600.0
"""A run that takes longer is confirmed first, on a terminal."""


@click.command()
@study_argument
@device_option
@launch_options
@click.option(
    "--address", metavar="auto|HOST:PORT|ray://HOST:PORT", help="Ray: a standing cluster, not one for this run alone."
)
@click.option("--detach", is_flag=True, help="SLURM: submit and leave; the same command comes back to it.")
@click.option(
    "--rerun", type=click.Choice(["failed", "stale", "all"]), help="Begin these anew: failed, of older code, all."
)
@click.option("--yes", "-y", is_flag=True, help="Do not ask before a long run.")
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
    """Launch what is missing of STUDY, then tables, figures and report. Typed again, it goes on where it stopped."""
    plan = plan_selection(Selection(**chosen), cast("Rerun | None", rerun), device)
    if device and plan.estimate is not None and plan.estimate.misfits:
        raise UsageError("\n".join([f"does not fit {device}, so nothing is launched:", *plan.estimate.misfits]))
    console = Console(file=sys.stdout, highlight=False)
    trials = list({trial.folder_id: trial for trial in (*plan.to_run, *plan.running)}.values())
    name, note = default_launcher(launcher_options.preferred(on or (address and "ray"), cluster, trials), len(trials))
    if address and name != "ray":
        raise UsageError(f"--address is that of a Ray cluster, {name} has none")
    options = launcher_options.options(trials, name, cluster, (*launch, *([f"address={address}"] if address else [])))
    if detach and name != "slurm":
        raise UsageError(f"--detach: jobs of {name} end with this command; those of slurm go on")
    click.echo(f"plan      {_amount(plan)}, {name}" if trials else "plan      nothing to run")
    if note:
        click.echo(f"          {note}")
    for text in cautions(plan) if trials else ():
        click.echo(text)
    if not yes and not _agreed(plan):
        return 130
    stop = StopRequest()
    results = Path(chosen["results"]).resolve()
    with ExitStack() as stack:
        try:
            stack.enter_context(StudyLock(plan.folder, stop))
        except StudyBusy as busy:
            raise UsageError(f"{plan.folder.name} {busy}; `studies status` shows how it goes") from busy
        except OSError as error:
            raise UsageError(f"results folder {results} cannot be written: {error.strerror or error}") from error
        stack.enter_context(handle_interrupts(stop))
        site = LaunchContext(results, plan.folder, options, stop)
        return _make(plan, trials, name, site, console, detach)


def _make(plan: Plan, trials: Sequence[Trial], name: str, site: LaunchContext, console: Console, detach: bool) -> int:
    from studies.engine.cli import finish_run
    from studies.engine.storage.results_dir import Store

    store = Store(site.results)
    outcome: DriverResult | None = None
    mirror = finish_run.mirror(store, plan.folder, console)
    try:
        _prepare(plan, store)
        if trials:
            outcome = _drive(plan, store, trials, name, site, console, mirror, detach)
    except LaunchError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        click.echo(f"results folder {site.results}: {error.strerror or error}; what is done is kept", err=True)
        return 1 if any(store.trial(trial.folder_id).result_file.exists() for trial in plan.selected) else 2
    states = StateWatcher([store.trial(i) for i in dict.fromkeys(t.folder_id for t in plan.selected)]).poll()
    return finish_run.finish(plan, store, states, outcome, mirror, console)


def _prepare(plan: Plan, store: Any) -> None:
    """plan.json and the trial folders, so that every other verb and every worker knows what is wanted."""
    from studies.engine.launchers.slurm import submissions
    from studies.engine.storage.plan_file import write_plan

    write_plan(plan.to_plan_file())
    submissions.remove_finished(store.root)
    for trial in plan.to_run:
        folder = store.trial(trial.folder_id)
        folder.create(trial.spec())
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
) -> DriverResult:
    from studies.engine.tracking.background import Mirroring

    chosen = {trial.folder_id: trial for trial in plan.selected}
    watch = StateWatcher([store.trial(i) for i in chosen])
    labels = {i: f"{t.arm.part} {t.arm.label} s{t.seed}" for i, t in chosen.items()}
    made: Launcher = create_launcher(name, site)
    try:
        lives_on = isinstance(made, BatchLauncher)
        with Progress(watch, labels, site.stop, console, lives_on) as progress, Mirroring(mirror):
            return Driver(trials, watch, made, site.stop, progress.say).run(detach)
    finally:
        made.close()


def _amount(plan: Plan) -> str:
    count = len(plan.to_run)
    parts = [f"{count} trial{'' if count == 1 else 's'}"]
    if plan.running:
        parts.append(f"{len(plan.running)} already running")
    if plan.estimate is not None:
        hours = plan.estimate.gpu_hours
        parts.append(
            f"{hours:.1f} GPU-hours" if hours > 0 else f"{duration(plan.estimate.seconds)} one after the other"
        )
    return ", ".join(parts)


def _agreed(plan: Plan) -> bool:
    guess = plan.estimate
    if guess is None or not sys.stdin.isatty() or not sys.stdout.isatty():
        return True
    if guess.gpu_hours <= ASK_ABOVE_GPU_HOURS and guess.seconds <= ASK_ABOVE_SECONDS:
        return True
    return click.confirm("Start?", default=True)
