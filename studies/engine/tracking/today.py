"""Whether a mirrored trial is stale: what `plan` would say of it now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

from studies.engine.core.own_code import OwnCode
from studies.engine.core.trial import State, first_trials
from studies.engine.planning import staleness
from studies.engine.storage.plan_file import PlanFile
from studies.engine.storage.results_dir import Store
from studies.engine.storage.trial_folder import TrialFolder
from studies.engine.study.own_today import own_today
from studies.engine.tracking.names import digest


class _Ran(NamedTuple):
    folder_id: str
    own: OwnCode | None
    inputs: Mapping[str, str]
    starts: tuple[str, ...]


class Today:
    """What the trials of a study folder are compared with, read when it is first asked for."""

    def __init__(self, store: Store, plan: PlanFile, contents: staleness.Contents) -> None:
        self._store, self._plan, self._contents = store, plan, contents

    @cached_property
    def own(self) -> OwnCode | None:
        return own_today(self._plan)

    def version(self, files: Sequence[str]) -> str:
        """Return what changes with the code, or with one of these files and folders."""
        found = [staleness.described(path, self._contents) for path in files]
        return staleness.version(self.own) + (f" {digest(found)}" if found else "")

    def files(self, folder: TrialFolder) -> tuple[str, ...]:
        """Return what a trial depends on: the files that it reads, and results whose weights it starts from."""
        ran = self._ran(folder)
        return *ran.inputs.values(), *(str(self._store.trial(first).result_file) for first in ran.starts)

    def makes_stale(self, folder: TrialFolder, state: State) -> bool:
        """Return whether something has changed since a trial was done."""
        return any(staleness.reasons(self._store, self._ran(folder), state, self._contents))

    def _ran(self, folder: TrialFolder) -> _Ran:
        spec = folder.spec() or {}
        starts = tuple(first_trials(spec.get("config") or {}).values())
        return _Ran(folder.id, self.own, spec.get("inputs") or {}, starts)
