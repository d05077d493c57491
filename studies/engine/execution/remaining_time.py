"""How long the trials of a run will still take: a study may have long trainings and hundreds of short evaluations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from statistics import fmean

from studies.engine.core.trial import State

ENOUGH = 0.2
"""Trials that must have been done, running ones by their steps, before anything is said where nothing was forecast."""


def remaining_seconds(
    states: Mapping[str, State], parts: Mapping[str, str], forecast: Mapping[str, float], now: float
) -> float | None:
    """Seconds until all have ended, with as many at a time as now; None: nothing left, or nothing known yet.

    A trial takes as long as its steps so far say, else as those of its part that have ended, else as the running ones
    of it will, else its forecast, else as the others. states, parts and forecast: by folder id, of this run's trials.
    """
    ended, projected = defaultdict[str, list[float]](list), dict[str, float]()
    for name, state in states.items():
        if state.status == "done" and state.started:
            ended[parts[name]].append(max(state.ended, state.heartbeat) - state.started)
        elif state.started and (share := finished_share(state)) > 0:
            projected[name] = (now - state.started) / share
    of_running = defaultdict[str, list[float]](list)
    for name, seconds in projected.items():
        of_running[parts[name]].append(seconds)
    known = {part: fmean(seconds) for part, seconds in {**of_running, **ended}.items()}
    left = {name: state for name, state in states.items() if state.status not in ("done", "failed", "lost")}
    did = sum(map(len, ended.values())) + sum(map(finished_share, states.values()))
    if not left or not (known or forecast) or (did <= ENOUGH and not forecast):
        return None
    others = fmean([*known.values(), *forecast.values()])
    whole = {name: projected.get(name, known.get(parts[name], forecast.get(name, others))) for name in left}
    each = {name: seconds * (1 - finished_share(left[name])) for name, seconds in whole.items()}
    running = sum(state.status == "running" for state in left.values())
    return max(sum(each.values()) / max(1, running), max(each.values()))


def finished_share(state: State) -> float:
    """Return the share of its steps that a running trial has taken."""
    return min(1.0, state.step / state.steps) if state.status == "running" and state.steps else 0.0
