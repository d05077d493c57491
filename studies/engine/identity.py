"""What makes two trials the same: the whole resolved config, the seed, the task and its revision. Nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from studies.engine.trial import Config

LENGTH = 12


def canonical_json(value: Any) -> str:
    """One text per value: sorted keys, no spaces; ValueError for NaN and infinities, which JSON does not have."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def trial_id(task: str, revision: int, config: Config, seed: int) -> str:
    """Twelve hexadecimal characters. `config` is the resolved one, its numbers of their fields' types."""
    return id_of(task, revision, canonical_json(config), seed)


def id_of(task: str, revision: int, config: str, seed: int) -> str:
    """`trial_id` for a config that is canonical JSON already: an arm's seeds share it."""
    return digest(f'{{"config":{config},"revision":{revision},"seed":{seed},"task":{json.dumps(task)}}}')[:LENGTH]


def flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values; an empty mapping is a value."""
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def reusable(old: Mapping[str, Any], config: Config, defaults: Config) -> bool:
    """Whether an older trial's result stands for this config (task, revision and seed being equal).

    Every key both have is equal; what the old config lacks sits at today's default, for it was computed before that
    option existed; what ours lacks sat at its own default then. So a new option keeps old results, and a changed
    default does not reuse them.
    """
    then, now = dict(flat(old["config"])), dict(flat(config))
    then_default, now_default = dict(flat(old.get("defaults", {}))), dict(flat(defaults))
    return (
        all(canonical_json(then[key]) == canonical_json(now[key]) for key in then.keys() & now.keys())
        and all(key in now_default and _same(now[key], now_default[key]) for key in now.keys() - then.keys())
        and all(key in then_default and _same(then[key], then_default[key]) for key in then.keys() - now.keys())
    )


def _same(left: Any, right: Any) -> bool:
    return canonical_json(left) == canonical_json(right)


@dataclass
class Archive:
    """Specs of trials on disk, arranged so that one lookup costs the same for ten of them or ten thousand.

    Trials whose configs have the same keys share a shelf; on it, a trial is found by its values of the keys that it has
    in common with the one asked for.
    """

    shelves: dict[tuple[str, int, int], dict[frozenset[str], list[Mapping[str, Any]]]] = field(default_factory=dict)
    indexes: dict[tuple[Any, ...], dict[str, list[Mapping[str, Any]]]] = field(default_factory=dict)

    def __init__(self, specs: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """specs: folder id and spec.json of each trial; what is no spec is passed over."""
        self.shelves, self.indexes = {}, {}
        for folder, spec in specs:
            try:
                place = (task_name(spec["task"]), int(spec.get("revision", 1)), int(spec["seed"]))
                keys = frozenset(key for key, _ in flat(spec["config"]))
            except (KeyError, TypeError, ValueError, AttributeError):
                continue
            self.shelves.setdefault(place, {}).setdefault(keys, []).append({**spec, "folder": folder})

    def find(self, task: str, revision: int, seed: int, config: Config, defaults: Config) -> str | None:
        """The folder id of a trial whose result stands for this one."""
        shelves = self.shelves.get((task, revision, seed))
        if not shelves:
            return None
        now = dict(flat(config))
        for keys, specs in shelves.items():
            if keys == now.keys():  # then the ids would be equal
                continue
            shared = sorted(keys & now.keys())
            place = (task, revision, seed, keys, tuple(shared))
            if place not in self.indexes:
                self.indexes[place] = {}
                for spec in specs:
                    self.indexes[place].setdefault(_values(dict(flat(spec["config"])), shared), []).append(spec)
            for spec in self.indexes[place].get(_values(now, shared), []):
                if reusable(spec, config, defaults):
                    return str(spec["folder"])
        return None


def _values(config: Mapping[str, Any], keys: list[str]) -> str:
    return canonical_json([config[key] for key in keys])


def task_name(ref: str) -> str:
    """A spec's task, which may be the path of a file, as it counts for identity: the file's name."""
    return ref.rsplit("/", 1)[-1]
