"""Which trials have to be run, or run again, so that the trials that start from them can begin."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from studies.engine.core.trial import State, Trial
from studies.engine.storage import kept_weights
from studies.engine.storage.results_dir import Store


def firsts_to_run(
    made: Mapping[str, Trial],
    states: Mapping[str, State],
    store: Store,
    launched: Mapping[str, Trial],
    selected: Collection[str],
) -> tuple[list[Trial], set[str]]:
    """Return what the trials to launch start from: trials that are neither selected nor done, and the folder ids of
    done ones that left no weights.

    made: all trials in the order of stages; states of those that have a folder; all by folder id.
    """
    added: set[str] = set()
    again: set[str] = set()
    waiting = list(launched.values())
    while waiting:
        for name in waiting.pop().starts:
            if name in launched or name in added or name in again:
                continue
            if states.get(name, State()).status != "done":
                if name in selected:  # and a live worker has it
                    continue
                added.add(name)
            elif kept_weights.find(store.trial(name)) is None:
                again.add(name)
            else:
                continue
            waiting.append(made[name])
    return [trial for name, trial in made.items() if name in added], again
