"""Mappings of a study file as settings: dotted or nested keys, each with its place."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from studies.engine.study.parts import KeyPath, Level, Patch, Setting

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
"""Names of studies, parts, scales and axes: they become folders, columns and options."""
LONGEST_NAME = 100
TAKEN = ("trials", "code", "slurm", "mlartifacts", "mlflow.db", "mlflow.db.lock")
"""Beside the studies' folders in a results folder."""
LARGEST_SEED = 2**53 - 1
"""JSON, tables and generators of random numbers hold it exactly."""


def patch(mapping: Mapping[str, Any], path: KeyPath, prefix: str = "") -> Patch:
    """Return ``{model: {depth: 2}, train.lr: 0.1}`` as settings of model.depth and train.lr."""
    return tuple(found for key, value in mapping.items() for found in setting(f"{prefix}{key}", value, (*path, key)))


def setting(key: str, value: Any, path: KeyPath, key_path: KeyPath | None = None) -> Patch:
    """Return one key as settings: several, where its value is a mapping."""
    if isinstance(value, Mapping) and value:
        return patch(value, path, f"{key}.")
    return (Setting(key, value, path, key_path),)


def label_of(value: Any) -> str:
    """Return the label of a level that is given as a bare value."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def find_label(value: Any, levels: Sequence[Level]) -> str | None:
    """Return the level that a value in `baseline`, `only`, a grid or --only means: by label, or as an equal number."""
    for level in levels:
        if level.label == label_of(value):
            return level.label
    if isinstance(value, int | float) and not isinstance(value, bool):
        for level in levels:
            if type(level.value) in (int, float) and level.value == value:
                return level.label
    return None
