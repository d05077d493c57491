"""Configs as nested mappings: dotted keys, canonical JSON, digests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def canonical_json(value: Any) -> str:
    """Return one text per value: sorted keys, no spaces. ValueError for NaN and infinities: JSON has none."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(text: str) -> str:
    """Return the SHA-256 of a text in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys and values; an empty mapping is a value."""
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def copy(config: Mapping[str, Any]) -> dict[str, Any]:
    """Copy the mappings of a config; other values are shared."""
    return {key: copy(value) if isinstance(value, dict) else value for key, value in config.items()}


def get(config: Mapping[str, Any], key: str | Sequence[str]) -> Any:
    """Return the value of a key, dotted or as a path; {} where it is missing."""
    value: Any = config
    for step in key.split(".") if isinstance(key, str) else key:
        value = value.get(step, {}) if isinstance(value, Mapping) else {}
    return value


def put(config: dict[str, Any], key: str, value: Any, replace: bool = False) -> None:
    """Set a dotted key in place. An empty mapping over a mapping changes nothing, unless it is to replace it."""
    *outer, last = key.split(".")
    for step in outer:
        inner = config.get(step)
        if not isinstance(inner, dict):
            inner = config[step] = {}
        config = inner
    if replace or not (value == {} and isinstance(config.get(last), dict)):
        config[last] = value


def split(mapping: Mapping[str, Any], keys: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split a mapping into the given keys and all others."""
    return (
        {key: value for key, value in mapping.items() if key in keys},
        {key: value for key, value in mapping.items() if key not in keys},
    )
