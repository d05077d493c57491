"""A trial folder as a worker leaves it."""

from __future__ import annotations

import json

from studies.engine.core.trial import State, Trial
from studies.engine.storage.code_snapshot import fingerprint, root
from studies.engine.storage.results_dir import Store


def finish(store: Store, trial: Trial, seconds: float = 10.0, source: str | None = None) -> None:
    """What a worker leaves behind."""
    folder = store.trial(trial.folder_id)
    folder.create(trial.spec())
    folder.attempt_folder(0).mkdir(parents=True, exist_ok=True)
    (folder.attempt_folder(0) / "env.json").write_text(json.dumps({"source": source or fingerprint(root())}))
    folder.set_result({"metrics": {}, "cost": {"seconds": seconds}})
    folder.set_state(State("done", attempt=1, device="cpu"))
