"""What STUDY on a command line means: a study to plan, or the results folder of one that was run.

`plan_selection` reads the study file and the models; `find_run` and `all_runs` read results only and answer at once.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Sequence
from os.path import isfile  # False for what the file system refuses, where Path.is_file raises
from typing import TYPE_CHECKING

from studies.engine.cli.options import UsageError
from studies.engine.core.errors import Problem, StudyError
from studies.engine.core.files import DamagedFile
from studies.engine.core.suggest import suggest
from studies.engine.planning.overrides import hashed_label, make_label, parse_overrides
from studies.engine.planning.selection import Selection
from studies.engine.storage import plan_file
from studies.engine.storage.plan_file import PlanFile
from studies.engine.study import study_files

if TYPE_CHECKING:
    from studies.engine.planning.plan import Plan, Rerun


def plan_selection(
    selection: Selection, rerun: Rerun | None = None, device: str | None = None, count: bool = False
) -> Plan:
    """Read and check the study, compare it with the results on disk, and forecast what is missing.

    Raises:
        StudyError: with every problem of the file and of the command line at once.
    """
    from studies.engine.planning.choice import choose
    from studies.engine.planning.plan import make_plan

    study, chosen = choose(study_files.find(selection.study), selection)
    return make_plan(study, selection.store, **vars(chosen), rerun=rerun, device=device, count=count)


def find_run(selection: Selection) -> PlanFile:
    """Return the plan that a run has written, without opening the study file or the models' sources.

    STUDY is a name with --scale, --set, --smoke as for `run`, or NAME@LABEL as the folder is called.

    Raises:
        UsageError: that was not run.
        DamagedFile: its plan is damaged.
    """
    return _by_label(selection) if "@" in selection.study else _by_options(selection)


def all_runs(selection: Selection) -> list[PlanFile]:
    """Return the plans of all studies in a results folder; damaged ones are skipped (`doctor` reports them)."""
    plans = []
    for folder in plan_file.folders(selection.store.root):
        with contextlib.suppress(FileNotFoundError, DamagedFile):
            plans.append(plan_file.read_plan(folder))
    return plans


def how_to_run(study: str, flags: Sequence[str] = ()) -> str:
    """Return the command that runs STUDY, to end a message with; the nearest study where there is none of that name;
    an empty text for NAME@LABEL, whose options its name does not have."""
    if "@" in study:
        return ""
    known, file = study_files.names(), f"{study}.yaml"
    found = study if isfile(study) or study in known else file if isfile(file) else ""
    return f"; `{' '.join(['studies run', found, *flags])}` runs it" if found else suggest(study, known)


def _by_label(selection: Selection) -> PlanFile:
    if selection.scale or selection.smoke or selection.overrides:
        raise UsageError(f"{selection.study} already names its label: leave out --scale, --set and --smoke")
    for folder in plan_file.folders(selection.store.root):
        if folder.name == selection.study:
            return plan_file.read_plan(folder)
    raise UsageError(f"{selection.study} has not been run in {selection.results}{how_to_run(selection.study)}")


def _by_options(selection: Selection) -> PlanFile:
    name = study_files.name_of(selection.study)
    label, before = _labels(selection)
    found = (plan_file.find(selection.store.root, name, one) for one in (before, label))
    folder = next((folder for folder in found if folder is not None), None)
    if folder is None:
        wanted = plan_file.folder_name(name, label)
        others = [p.name for p in plan_file.folders(selection.store.root) if p.name.partition("@")[0] == name]
        flags = [f"--scale {selection.scale}"] if selection.scale else []
        flags += ["--smoke"] * selection.smoke + [f"--set {shlex.quote(one)}" for one in selection.overrides]
        hint = f"; there is {', '.join(others)}" if others else how_to_run(selection.study, flags)
        raise UsageError(f"{wanted} has not been run in {selection.results}{hint}")
    return plan_file.read_plan(folder)


def _labels(selection: Selection) -> tuple[str, str]:
    """Return the label that the options ask for, and what earlier versions called it; `plan_file.find` allows for the
    default scale's name in it."""
    problems: list[Problem] = []
    overrides = parse_overrides(selection.overrides, problems)
    if problems:
        raise StudyError(problems)
    asked = selection.scale or "", selection.smoke, overrides
    return make_label(*asked), hashed_label(*asked)
