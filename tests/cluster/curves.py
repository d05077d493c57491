"""Trials of `double_task.py`, and how far two of their curves are apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from studies.engine.core.trial import Arm, Resources, Trial
from studies.engine.storage.results_dir import Store

TASK = Path(__file__).with_name("double_task.py")
EVIT = {
    "name": "evit_deit_tiny_patch16_224", "embed_dim": 16, "depth": 4, "num_heads": 2, "patch_size": 2,
    "locations": [1, 3], "keep_rate": 0.7,
}  # fmt: skip
DEIT = {"name": "deit_tiny_patch16_224", "embed_dim": 16, "depth": 2, "num_heads": 2, "patch_size": 4}


def trial(name: str, config: dict[str, Any], **needs: Any) -> Trial:
    arm = Arm("together", name, (), config, False, ())
    return Trial(name, name, arm, 0, str(TASK), config, {}, Resources(**needs))


def curve(store: Store, name: str) -> list[tuple[int, dict[str, float]]]:
    """Every logged value but speeds."""
    return [
        (event.step, {key: value for key, value in event.metrics.items() if "per_second" not in key})
        for event in store.trial(name).events()
    ]


def apart(one: list[tuple[int, dict[str, float]]], other: list[tuple[int, dict[str, float]]]) -> float:
    """The largest difference; both must have the same steps and keys."""
    assert [(step, set(values)) for step, values in one] == [(step, set(values)) for step, values in other]
    assert one
    pairs = zip(one, other, strict=True)
    return max(abs(values[key] - others[key]) for (_, values), (_, others) in pairs for key in values)


def log(store: Store, name: str, attempt: int = 0) -> str:
    return (store.trial(name).attempt_folder(attempt) / "log.txt").read_text()
