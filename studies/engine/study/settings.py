"""Mappings of a study file as settings: dotted or nested keys, each with its place."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from studies.engine.study.model import Level, Patch, Setting

KeyPath = tuple[str | int, ...]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
"""Names of studies, parts, scales and axes: they become folders, columns and options."""


def patch(mapping: Mapping[str, Any], where: KeyPath, prefix: str = "") -> Patch:
    """``{model: {depth: 2}, train.lr: 0.1}`` as settings of model.depth and train.lr."""
    found: list[Setting] = []
    for key, value in mapping.items():
        found.extend(setting(f"{prefix}{key}", value, (*where, key)))
    return tuple(found)


def setting(key: str, value: Any, where: KeyPath, named: KeyPath | None = None) -> Patch:
    if isinstance(value, Mapping) and value:
        return patch(value, where, f"{key}.")
    return (Setting(key, value, where, named),)


def label_of(value: Any) -> str:
    """A level's name, where it is a bare value."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def find_label(value: Any, levels: Sequence[Level]) -> str | None:
    """The level that a value in `baseline`, `only`, a grid or --only means: by name, or as an equal number."""
    for level in levels:
        if level.label == label_of(value):
            return level.label
    if isinstance(value, int | float) and not isinstance(value, bool):
        for level in levels:
            if type(level.value) in (int, float) and level.value == value:
                return level.label
    return None


def split(mapping: Mapping[str, Any], reserved: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What belongs to the language, and the settings beside it."""
    return (
        {key: value for key, value in mapping.items() if key in reserved},
        {key: value for key, value in mapping.items() if key not in reserved},
    )
