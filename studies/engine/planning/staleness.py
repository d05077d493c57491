"""Whether the code and the files that a trial ran with are still those of today."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from studies.engine.core.formatting import first_few
from studies.engine.core.own_code import OwnCode
from studies.engine.core.trial import State, Trial
from studies.engine.storage import inputs, kept_weights
from studies.engine.storage.code_snapshot import fingerprint, root
from studies.engine.storage.results_dir import Store

OLDER_CODE = "of older code"
Contents = dict[str, dict[str, Any] | None]
"""What files and folders hold, by path: read once, as thousands of trials share a data set."""


class Sources(Protocol):
    """A trial's folder, and what it would run with today; a `Trial` has it."""

    @property
    def folder_id(self) -> str: ...
    @property
    def own(self) -> OwnCode | None: ...
    @property
    def inputs(self) -> Mapping[str, str]: ...
    @property
    def starts(self) -> tuple[str, ...]: ...


def version(own: OwnCode | None) -> str:
    """Return what changes with any edit of the code that trials are compared with."""
    return fingerprint(root()) + (f" {own.fingerprint}" if own else "")


def described(path: str, contents: Contents) -> dict[str, Any] | None:
    """Return what a file or folder holds, read where `contents` does not have it."""
    if path not in contents:
        contents[path] = inputs.describe(Path(path))
    return contents[path]


def reasons(store: Store, trial: Sources, state: State, contents: Contents) -> Iterator[str]:
    """Yield what has changed since a trial ran, each as words that follow "3 done trials"."""
    folder = store.trial(trial.folder_id)
    environment = folder.environment(state.attempt)
    source, own = environment.get("source"), environment.get("own")
    if source and source != fingerprint(root()):
        yield OLDER_CODE
    if own and trial.own is not None and (changed := trial.own.changes(own)):
        yield f"ran before an edit of own code: {first_few(changed, 5)}"
    for key, before in (environment.get("inputs") or {}).items():
        path = trial.inputs.get(key)
        if path is not None and (text := inputs.difference(before, described(path, contents))):
            yield f"read {key} before it changed: {path} {text}"
    if trial.starts and kept_weights.changed(folder):
        yield "started from weights that were trained again"


def cannot_continue(store: Store, trial: Trial, state: State) -> bool:
    """Return whether an unfinished trial has begun with other own code: one training is never mixed of two versions."""
    if trial.own is None or not state.attempt or state.status in ("done", "running"):
        return False
    own = store.trial(trial.folder_id).environment(state.attempt).get("own")
    return bool(own and trial.own.changes(own))
