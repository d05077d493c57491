"""STUDY on the command line of a verb that reads results: which study folder it means."""

from __future__ import annotations

import contextlib

from studies.engine import planfile
from studies.engine.planfile import PlanFile
from studies.engine.selection import Refused, Selection, planned

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
    for folder in planfile.folders(selection.store.root):
        with contextlib.suppress(*DAMAGED):
            plans.append(planfile.read_plan(folder))
    return plans


def _labelled(selection: Selection) -> PlanFile:
    if selection.scale or selection.smoke or selection.overrides:
        raise Refused(f"{selection.study} names its label already: leave out --scale, --set and --smoke")
    for folder in planfile.folders(selection.store.root):
        if folder.name == selection.study:
            return planfile.read_plan(folder)
    raise Refused(f"{selection.study} has not been run in {selection.results}")
