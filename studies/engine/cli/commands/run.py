"""``studies run STUDY``: run everything that is missing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from studies.engine.cli.options import (
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
from studies.engine.cli.study_run import StudyRun, Unwritable, prepare
from studies.engine.cli.table_files import unread_lines
from studies.engine.core.formatting import count, duration
from studies.engine.planning.changes import change_lines
from studies.engine.planning.selection import Selection
from studies.engine.results.study_status import StudyStatus
from studies.engine.storage.plan_file import find_plan
from studies.engine.study.study_files import hidden

if TYPE_CHECKING:
    from studies.engine.planning.plan import Plan

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
def command(yes: bool, as_json: bool, **given: Any) -> int:
    """Run everything that is missing of STUDY, then tables, figures and report.

    The same command continues an interrupted run.
    """
    with json_output(as_json) as found:
        selection = Selection(**{name: given.pop(name) for name in Selection.__dataclass_fields__})
        run = prepare(selection, **given)
        check_cluster(run.launcher)
        for line in _lines(run, selection, given["rerun"]):
            click.echo(line)
        code = found["code"] = _run(run) if yes or _confirmed(run.plan) else 130
        if as_json and (written := find_plan(run.plan.folder)):
            found |= StudyStatus(selection.store, written).as_json()
    return code


def _lines(run: StudyRun, selection: Selection, rerun: str | None) -> Iterator[str]:
    """Yield what is going to run, what has changed since, and what the task objects to."""
    plan, looks = run.plan, run.looks
    at = f"looks at {', '.join(map(str, looks.numbers))} seeds; the first: " if looks else ""
    yield f"plan      {at}{_amount(plan)}, {run.launcher}" if plan.active else f"plan      {at}nothing to run"
    yield from () if looks else seed_lines(plan)
    yield from stage_lines(plan)
    changes = change_lines(find_plan(plan.folder), plan.trials, selection.store)
    yield from filter(None, (hidden(plan.study.name), *changes))
    yield from () if run.spec else unread_lines(plan.study)
    yield from () if rerun else stale_lines(plan)
    if run.note:
        yield f"{'':10}{run.note}"
    if plan.selected if looks else plan.active:
        yield from warnings(plan)


def _run(run: StudyRun) -> int:
    try:
        return run.run(Console(file=sys.stdout, highlight=False))
    except Unwritable as error:
        error.show()
        return 1 if error.some_done else 2


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
