"""STUDY on the command line of a verb that reads results: which study folder it means."""

from __future__ import annotations

import contextlib

from studies.engine.planning.selection import Refused, Selection, planned
from studies.engine.storage import plan_file
from studies.engine.storage.plan_file import PlanFile

DAMAGED = (FileNotFoundError, KeyError, TypeError, ValueError, AttributeError)
"""What reading a damaged plan raises."""


def ran(selection: Selection) -> PlanFile:
    """``NAME`` with --scale, --set, --smoke as `run` takes them, or ``NAME@LABEL`` as the folder is called.

    Refused where that was not run. Opens neither the study file nor the models' sources.
    """
    try:
        return _labelled(selection) if "@" in selection.study else planned(selection)
    except DAMAGED as error:
        again = f"the plan of {selection.study} is damaged; `studies run {selection.study}` writes it again"
        raise Refused(again) from error


def everything(selection: Selection) -> list[PlanFile]:
    """All studies of a results folder; damaged plans are left to `doctor`."""
    plans = []
    for folder in plan_file.folders(selection.store.root):
        with contextlib.suppress(*DAMAGED):
            plans.append(plan_file.read_plan(folder))
    return plans


def _labelled(selection: Selection) -> PlanFile:
    if selection.scale or selection.smoke or selection.overrides:
        raise Refused(f"{selection.study} names its label already: leave out --scale, --set and --smoke")
    for folder in plan_file.folders(selection.store.root):
        if folder.name == selection.study:
            return plan_file.read_plan(folder)
    raise Refused(f"{selection.study} has not been run in {selection.results}")
