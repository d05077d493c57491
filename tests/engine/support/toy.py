"""Toy trials for the tests of worker and driver: `tests/toy_task.py` without a study file around it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from studies.engine.core.stop import StopRequest
from studies.engine.core.trial import Arm, Resources, Trial, reference
from studies.engine.execution.driver import Driver, DriverResult
from studies.engine.jobs.launcher import LaunchContext, create_launcher
from studies.engine.storage import kept_weights
from studies.engine.storage.results_dir import Store
from studies.engine.storage.state_watcher import StateWatcher
from studies.engine.storage.trial_folder import TrialFolder

TASK = Path(__file__).parents[2] / "toy_task.py"


def trial(name: str, seed: int = 0, resources: Resources | None = None, **config: Any) -> Trial:
    """`fault="raise"` and `seconds=0.1` are short for the nested keys."""
    full: dict[str, Any] = {key: value for key, value in config.items() if key in ("shape", "depth", "side")}
    full["train"] = {key: value for key, value in config.items() if key in ("steps", "lr", "noise", "seconds")}
    if "fault" in config:
        full["fault"] = {"kind": config["fault"], "step": config.get("step", 2)}
        full["fault"]["attempts"] = config.get("attempts", 1000)
    full["keep_checkpoint"] = config.get("keep_checkpoint", False)
    if starts := config.get("starts", ""):
        full["init"] = reference(starts)
    arm = Arm("toy", name, (("depth", "1"),), full, False, ())
    return Trial(
        name, name, arm, seed, str(TASK), full, {}, resources or Resources(), starts=(starts,) if starts else ()
    )


def place(store: Store, *trials: Trial) -> list[TrialFolder]:
    """Make the trials' folders, as `run` does."""
    folders = [store.trial(t.folder_id) for t in trials]
    firsts = {first for t in trials for first in t.starts}
    for folder, t in zip(folders, trials, strict=True):
        folder.create(t.spec())
        if folder.id in firsts:
            kept_weights.request(folder)
    return folders


def drive(
    store: Store,
    trials: list[Trial],
    on: str = "inline",
    stop: StopRequest | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> DriverResult:
    """Create, launch, wait."""
    stop = StopRequest() if stop is None else stop
    place(store, *trials)
    watch = StateWatcher([store.trial(t.folder_id) for t in trials])
    made = create_launcher(on, LaunchContext(store.root, store.study("toy"), {}, stop))
    try:
        return Driver(trials, watch, made, stop, say).run()
    finally:
        made.close()


def numbers(store: Store, *names: str) -> dict[str, Any]:
    """Each trial's metrics, which do not depend on how often it was interrupted."""
    return {name: (store.trial(name).result() or {}).get("metrics") for name in names}
