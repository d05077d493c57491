"""What a study file declares for all of its scales, read from its text, which rides in the frame of each of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import yaml

from paper_tables.core.errors import TableError
from paper_tables.core.yaml_loader import parse_yaml


@dataclass(frozen=True)
class Declared:
    scales: tuple[str, ...]
    levels: dict[str, tuple[str, ...]]
    """Axis -> its levels, of any part at any scale."""


@lru_cache(maxsize=32)
def declared(text: str) -> Declared:
    """Return what the text of a study file declares; nothing for text that is none."""
    try:
        data = parse_yaml(text)
    except (TableError, yaml.YAMLError, ValueError):
        data = None
    scales = _mapping(data, "scales")
    levels: dict[str, dict[str, None]] = {}
    for name, axis in (found for place in (data, *scales.values()) for found in _axes(place)):
        values = axis.get("values") if isinstance(axis, dict) else None
        known = [_label(v) for v in values] if isinstance(values, list) else [*_mapping(axis, "values")]
        levels.setdefault(name, {}).update(dict.fromkeys(known))
    return Declared(tuple(scales), {name: tuple(found) for name, found in levels.items()})


def _axes(place: Any) -> Iterator[tuple[str, Any]]:
    for one in (place, *_mapping(place, "parts").values()):
        yield from _mapping(one, "axes").items()


def _mapping(data: Any, key: str) -> dict[str, Any]:
    found = data.get(key) if isinstance(data, dict) else None
    return found if isinstance(found, dict) else {}


def _label(value: Any) -> str:
    """Return the label that a study gives a bare value."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
