"""What a trial takes from the trials that it starts from, and whether it keeps its own weights for others."""

from __future__ import annotations

from typing import Any

from studies.engine.core import config as configs
from studies.engine.core.trial import KEEP, first_trials
from studies.engine.storage import kept_weights
from studies.engine.storage.trial_folder import TrialFolder


def prepare(spec: dict[str, Any], folder: TrialFolder) -> tuple[dict[str, Any], dict[str, dict[str, str]]]:
    """Return the spec as the task gets it, and by trial the file and the digest of the weights that are taken.

    Raises:
        FileNotFoundError: a trial that this one starts from has left no weights, or they are not those any more.
    """
    config = configs.copy(spec.get("config", {}))
    taken = {}
    for key, name in first_trials(config).items():
        first = TrialFolder(folder.path.parent / name)
        file = kept_weights.find(first)
        if file is None:
            raise FileNotFoundError(
                f"{key}: {first.path} holds no weights to start from; `studies run` makes them again"
            )
        configs.put(config, key, str(file))
        taken[name] = kept_weights.describe(file, first)
        if (first.result() or {}).get("kept_weights", taken[name]) != taken[name]:
            raise FileNotFoundError(f"{key}: {file} was changed since its trial was done; `--rerun all` makes it again")
    if KEEP in config and kept_weights.are_requested(folder):
        config[KEEP] = True
    return {**spec, "config": config}, taken


def records(folder: TrialFolder, kept: bool, taken: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Return what a result says of weights: those that were taken, and those that are kept."""
    file = kept_weights.find(folder) if kept else None
    return {
        **({"started_from": taken} if taken else {}),
        **({} if file is None else {"kept_weights": kept_weights.describe(file, folder)}),
    }
