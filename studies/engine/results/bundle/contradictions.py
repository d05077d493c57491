"""Where a bundle contradicts itself: its frame against its trials' results, their ids against their configs."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator

from studies.engine.core.trial import State
from studies.engine.planning.identity import task_name, trial_id
from studies.engine.results.bundle.open import Bundle
from studies.engine.results.readings import Reading, is_from_events, value

FRAME = "trials.csv"


def contradictions(bundle: Bundle) -> Iterator[str]:
    """Yield a line per trial that is not of its config, and per number of the frame that is not its trial's.

    Numbers that come from curves are not compared: a bundle has the curves, not the events that they were read from.
    """
    for name in bundle.trials:
        spec = bundle.spec(name) or {}
        if trial_id(task_name(spec["task"]), spec["revision"], spec["config"], spec["seed"]) != name:
            yield f"{name}  {bundle.label(name)}: its config, seed or task was changed, as they give another id"
    path = bundle.folder / FRAME
    if not path.is_file():
        yield f"{FRAME} is not in the bundle"
        return
    with open(path, newline="", encoding="utf-8", errors="replace") as rows:
        for row in csv.DictReader(rows):
            head = f"{row.get('trial')}  {bundle.label(str(row.get('trial')))}"
            yield from (f"{head}: {text}" for text in _row(bundle, row))


def _row(bundle: Bundle, row: dict[str, str]) -> Iterator[str]:
    result = bundle.result(row.get("trial") or "-")
    if (row.get("status") == "done") != (result is not None):
        yield f"{row.get('status')} in {FRAME}, and {'with a' if result is not None else 'without a'} result"
    elif result is not None:
        reading = Reading(row["trial"], State("done"), "done", result, {})
        for name, metric in bundle.plan.metrics.items():
            there = value(name, metric, reading)
            if not is_from_events(metric) and not _equal(row.get(f"metric.{name}") or "", there):
                yield f"{name} is {row.get(f'metric.{name}') or 'empty'} in {FRAME}, {there} in its result"


def _equal(cell: str, there: float | None) -> bool:
    try:
        here = float(cell) if cell else None
    except ValueError:
        return False
    if here is None or there is None:
        return here is there or (there is not None and math.isnan(there))
    return math.isclose(here, there, rel_tol=1e-12) or (math.isnan(here) and math.isnan(there))
