"""``studies plan STUDY``: what a run would do."""

from __future__ import annotations

import json
from typing import Any, cast

import click

from studies.engine.cli import looks
from studies.engine.cli.options import (
    UsageError,
    check_cluster,
    device_option,
    launch_options,
    results_option,
    selection_options,
    study_argument,
)
from studies.engine.cli.plan_report import plan_lines, plan_notes, results_line
from studies.engine.cli.table_files import unread_lines
from studies.engine.cli.text import terminal_width
from studies.engine.core.trial import Trial
from studies.engine.jobs.launcher import default_launcher
from studies.engine.planning import launcher_options
from studies.engine.planning.changes import change_lines
from studies.engine.planning.choice import choose
from studies.engine.planning.forecast.estimate import Estimate
from studies.engine.planning.plan import RERUNS, Plan, Rerun, make_plan
from studies.engine.planning.selection import Selection
from studies.engine.storage.plan_file import find_plan
from studies.engine.study import study_files
from studies.engine.study.study_files import hidden


@click.command()
@study_argument
@selection_options
@click.option("--rerun", type=click.Choice(RERUNS), help="As in `run`: show what would restart.")
@device_option
@click.option("--count", is_flag=True, help="Profile models without cost data, for time and memory.")
@launch_options
@click.option("--sbatch", is_flag=True, help="Show the sbatch file for SLURM, one for each set of resources.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: every trial with its config and state.")
@results_option
def command(
    on: str | None,
    cluster: str | None,
    launch: tuple[str, ...],
    rerun: str | None,
    device: str | None,
    count: bool,
    sbatch: bool,
    as_json: bool,
    **chosen: Any,
) -> int:
    """Check STUDY and show what `run` would launch and what that takes. Writes nothing, except for --count.

    Exit code 2 if an arm does not fit its resources.
    """
    others = [f"--on {on}"] * (on not in (None, "slurm")) + ["--json"] * as_json
    if sbatch and others:
        raise UsageError(f"--sbatch shows what slurm would get: it does not go with {' and '.join(others)}")
    selection = Selection(**chosen)
    study, choice = choose(study_files.find(selection.study), selection)
    plan = make_plan(
        study, selection.store, **vars(choice), rerun=cast("Rerun | None", rerun), device=device, count=count
    )
    asking = plan.to_run or plan.selected
    wanted = "slurm" if sbatch else launcher_options.preferred(on, cluster, asking)
    name, _ = default_launcher(wanted, len(plan.to_run), launch)
    check_cluster(name)
    options = launcher_options.options(asking, name, cluster, launch)
    if sbatch:
        click.echo(_sbatch(plan, options))
        return 0
    code = 2 if plan.estimate is not None and plan.estimate.violations else 0
    if as_json:
        click.echo(json.dumps(_as_json(plan), indent=1, ensure_ascii=False))
        return code
    changes = change_lines(find_plan(plan.folder), plan.trials, selection.store)
    lines = [*plan_lines(plan, terminal_width()), *changes, results_line(selection.store.root), *plan_notes(plan)]
    lines += filter(None, [hidden(plan.study.name), *unread_lines(plan.study)])
    if (decide := study.at(plan.scale).decide) and not selection.smoke:
        lines += looks.plan_lines(looks.Looks(study, choice, decide, selection.store, device), plan)
    click.echo("\n".join(lines))
    return code


def _sbatch(plan: Plan, options: dict[str, Any]) -> str:
    """Return what `run --on slurm` would submit, except for names that are chosen at that moment."""
    from studies.engine.jobs.launcher import LaunchContext
    from studies.engine.launchers.slurm import launcher

    groups: dict[str, list[Trial]] = {}
    for trial in plan.to_run:
        groups.setdefault(repr(trial.resources), []).append(trial)
    site = LaunchContext(plan.folder.parent, plan.folder, options)
    texts = [launcher.sbatch_text(site, group[0].resources, len(group)) for group in groups.values()]
    return "\n\n".join(texts) if texts else "nothing to run"


def _estimate_json(estimate: Estimate | None) -> dict[str, Any] | None:
    """Return the estimate under keys that scripts rely on."""
    if estimate is None:
        return None
    published = {
        "forecast": "reckoned",
        "assumptions": "basis",
        "memory_available": "room_gb",
        "violations": "misfits",
        "unprofiled": "uncounted",
        "failures": "refused",
    }
    return {published.get(name, name): value for name, value in vars(estimate).items() if name != "seconds_of"}


def _as_json(plan: Plan) -> dict[str, Any]:
    stages = {trial.folder_id: i for i, stage in enumerate(plan.stages) for trial in stage}
    return {
        "study": plan.study.name,
        "label": plan.label,
        "scale": plan.scale,
        "folder": str(plan.folder),
        "reused": plan.reused,
        "stale": plan.stale,
        "remarks": plan_notes(plan),
        "estimate": _estimate_json(plan.estimate),
        "trials": [
            {
                "trial": trial.id,
                "folder": trial.folder_id,
                "part": trial.arm.part,
                "arm": trial.arm.label,
                "coords": dict(trial.arm.coords),
                "blocks": list(trial.arm.blocks),
                "baseline": trial.arm.is_baseline,
                "seed": trial.seed,
                "status": plan.state(trial).status,
                "run": trial.folder_id in stages,
                "stage": stages.get(trial.folder_id),
                "starts_from": list(trial.starts),
                "anew": trial.folder_id in plan.restart,
                "config": trial.config,
            }
            for trial in (*plan.selected, *plan.added)
        ],
    }
