"""Why a finished trial is not what it would be today: code, own code, the files that it read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import toy

from studies.engine.core.own_code import OwnCode
from studies.engine.core.trial import State, Trial
from studies.engine.planning import staleness
from studies.engine.storage import inputs
from studies.engine.storage.code_snapshot import fingerprint, root
from studies.engine.storage.results_dir import Store


def own(folder: Path, **bodies: str) -> OwnCode:
    files = {f"{name}.py": text.encode() for name, text in bodies.items()}
    return OwnCode(("nets.py",), files, {name: folder / name for name in files}, {"": folder})


def ran(store: Store, trial: Trial, **environment: object) -> State:
    """Write what an attempt leaves of its environment."""
    (folder,) = toy.place(store, trial)
    folder.begin_attempt(0)
    known = {"source": fingerprint(root()), **environment}
    (folder.attempt_folder(0) / "env.json").write_text(json.dumps(known))
    return State("done", 1)


def reasons(store: Store, trial: Trial, state: State) -> list[str]:
    return list(staleness.reasons(store, trial, state, {}))


def test_own_code(tmp_path: Path) -> None:
    store, before, after = Store(tmp_path), own(tmp_path, nets="a", helper="a"), own(tmp_path, nets="b", more="")
    trial = replace(toy.trial("0123456789ab"), own=before)
    state = ran(store, trial, own=before.record)
    assert reasons(store, trial, state) == []
    edited = replace(trial, own=after)
    assert reasons(store, edited, state) == [
        "ran before an edit of own code: helper.py (no longer imported), more.py (new), nets.py"
    ]
    assert reasons(store, replace(trial, own=None), state) == []  # what it was is not known to matter
    assert not staleness.cannot_continue(store, edited, state)
    assert staleness.cannot_continue(store, edited, State("failed", 1))
    assert not staleness.cannot_continue(store, trial, State("failed", 1))
    assert not staleness.cannot_continue(store, edited, State("planned", 0))


def test_files_that_it_read(tmp_path: Path) -> None:
    store, weights = Store(tmp_path / "results"), tmp_path / "weights.pt"
    weights.write_bytes(b"trained")
    trial = replace(toy.trial("0123456789ab"), inputs={"init": str(weights)})
    state = ran(store, trial, inputs={"init": inputs.describe(weights)})
    assert reasons(store, trial, state) == []
    weights.write_bytes(b"trained again")
    assert reasons(store, trial, state) == [f"read init before it changed: {weights} has other content"]


def test_older_code(tmp_path: Path) -> None:
    store, trial = Store(tmp_path), toy.trial("0123456789ab")
    assert reasons(store, trial, ran(store, trial, source="0123456789ab")) == ["of older code"]
