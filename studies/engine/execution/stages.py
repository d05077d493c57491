"""Which trials can start: those whose first trials have left their weights."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from studies.engine.core.trial import State, Trial
from studies.engine.storage import kept_weights
from studies.engine.storage.trial_folder import TrialFolder


class Stages:
    def __init__(self, folders: Mapping[str, TrialFolder], names: Mapping[str, str]) -> None:
        """names: folder id -> what messages call the trial."""
        self._folders, self._names = folders, names
        self._there: set[str] = set()
        """First trials whose weights were seen."""

    def are_ready(self, trial: Trial, states: Mapping[str, State]) -> bool:
        """Return whether everything is there that the trial starts from."""
        return all(states[first].status == "done" and self._has_weights(first) for first in trial.starts)

    def why_never(self, trial: Trial, states: Mapping[str, State], ongoing: Collection[str]) -> str:
        """Return why the trial cannot start in this run; empty where it can, or may later. ongoing: what may still end
        well."""
        for first in trial.starts:
            state, name = states[first], self._names.get(first, first)
            if state.status == "done" and not self._has_weights(first):
                return f"starts from {name}, which left no weights: the next run makes it again"
            if state.status != "done" and first not in ongoing:
                verb = "failed" if state.status == "failed" else f"is {state.status}"
                return f"starts from {name}, which {verb}" + (f": {state.reason}" if state.reason else "")
        return ""

    def _has_weights(self, first: str) -> bool:
        if first not in self._there and kept_weights.find(self._folders[first]) is not None:
            self._there.add(first)
        return first in self._there
