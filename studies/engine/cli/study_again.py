"""The study file as it is now: `tables` takes metrics, labels and the table file from it, and says what changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from studies.engine.cli.table_files import named_table_file, unread_lines
from studies.engine.core.errors import Problem, StudyError
from studies.engine.core.formatting import count
from studies.engine.planning.changes import change_lines
from studies.engine.planning.overrides import parse_overrides
from studies.engine.planning.trials import TrialMaker
from studies.engine.storage.plan_file import PlanFile, PlannedMetric, PlannedPart, write_plan
from studies.engine.storage.results_dir import Store
from studies.engine.study import parser, study_files
from studies.engine.study.model import Study
from studies.engine.study.parts import Part
from studies.engine.study.starts import Starts


def read_again(store: Store, plan: PlanFile, typed: str) -> tuple[PlanFile, list[str]]:
    """Return the plan with what the study file says now about metrics and labels, and lines about what else changed.

    typed: the study on the command line, which may be a path. Where the file is gone, as in a copy of the results, or
    has errors, the plan stays.
    """
    file = _file(plan, typed)
    if file is None:
        return plan, []
    study, problems = parser.draft(file, thorough=False)
    if study is None or problems or plan.scale not in study.scaled:
        wrong = count(len(problems), "error") if problems else f"no scale {plan.scale}"
        return plan, [f"{'study':10}{file} has {wrong} now: metrics and labels are those of the last run"]
    again, unread = _updated(plan, study), list(unread_lines(study))
    if again != plan:
        write_plan(again)
    if study.text == plan.study_text:
        return again, unread
    try:
        return again, [*unread, *_changes(store, plan, study)]
    except StudyError as error:
        return again, [*unread, f"{'study':10}{error.problems[0]}"]


def _file(plan: PlanFile, typed: str) -> Path | None:
    """Return the study file; one that is named by its path is the one."""
    path = Path(typed) if typed.endswith(study_files.SUFFIXES) else Path(plan.study_path)
    if path.suffix and path.is_file():
        return path
    return None if plan.study_path else study_files.names().get(plan.study)


def _updated(plan: PlanFile, study: Study) -> PlanFile:
    parts = {part.name: part for part in study.at(plan.scale).parts}
    metrics = {name: PlannedMetric(m.source, m.direction, m.unit) for name, m in study.metrics.items()}
    named = named_table_file(study)
    return replace(
        plan,
        title=study.title,
        metrics=metrics or plan.metrics,
        parts=tuple(_relabeled(part, parts.get(part.name)) for part in plan.parts),
        table_file=named or plan.table_file,
    )


def _relabeled(planned: PlannedPart, part: Part | None) -> PlannedPart:
    axes = part.axes if part else {}
    labels = {axis.name: axes[axis.name].label or axis.name for axis in planned.axes if axis.name in axes}
    return replace(planned, axes=tuple(replace(a, label=labels.get(a.name, a.label)) for a in planned.axes))


def _changes(store: Store, plan: PlanFile, study: Study) -> Iterator[str]:
    """Yield the settings that differ from those of the results."""
    wrong: list[Problem] = []
    smoke = plan.smoke
    overrides = parse_overrides(plan.overrides, wrong)
    if wrong or ("set-" in plan.label and not overrides):
        return
    planned: dict[tuple[str, str], set[int]] = {}
    for trial in plan.trials:
        planned.setdefault((trial.part, trial.arm), set()).add(trial.seed)
    maker = TrialMaker(Starts(study, plan.scale, overrides, smoke), store, plan.label, smoke)
    trials = maker.make(lambda arm: sorted(planned.get(arm.key, ())))
    lines = list(change_lines(plan, trials, store))
    yield from lines
    if lines:
        yield f"{'':10}since these results were made; `studies run {plan.study}` makes them again"
