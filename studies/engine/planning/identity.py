"""What makes two trials the same: the whole resolved config, the seed, the task and its revision. Nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from studies.engine.core.config import canonical_json, digest, flat
from studies.engine.core.trial import Config

LENGTH = 12


def trial_id(task: str, revision: int, config: Config, seed: int) -> str:
    """Twelve hexadecimal characters. `config` is the resolved one, its numbers of their fields' types."""
    return id_of(task, revision, canonical_json(config), seed)


def id_of(task: str, revision: int, config: str, seed: int) -> str:
    """`trial_id` for a config that is canonical JSON already: an arm's seeds share it."""
    return digest(f'{{"config":{config},"revision":{revision},"seed":{seed},"task":{json.dumps(task)}}}')[:LENGTH]


def reusable(old: Mapping[str, Any], config: Config, defaults: Config) -> bool:
    """Whether an older trial's result is valid for this config (task, revision and seed being equal).

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


Spec = Mapping[str, Any]


class Archive:
    """Specs of trials on disk, arranged so that one lookup costs the same for ten of them or ten thousand.

    Trials whose configs have the same keys share a shelf; on it, a trial is found by its values of the keys that it has
    in common with the one asked for.
    """

    def __init__(self, specs: Iterable[tuple[str, Spec]]) -> None:
        """specs: folder id and spec.json of each trial; what is no spec is passed over."""
        self.specs: list[Spec] = []
        self.shelves: dict[tuple[str, int, int], dict[frozenset[str], list[Spec]]] = {}
        self.indexes: dict[tuple[Any, ...], dict[str, list[Spec]]] = {}
        self.moved: dict[tuple[str, str], bool] = {}
        for folder, spec in specs:
            try:
                place = (task_name(spec["task"]), int(spec.get("revision", 1)), int(spec["seed"]))
                keys = frozenset(key for key, _ in flat(spec["config"]))
            except (KeyError, TypeError, ValueError, AttributeError):
                continue
            self.specs.append({**spec, "folder": folder})
            self.shelves.setdefault(place, {}).setdefault(keys, []).append(self.specs[-1])

    def find(self, task: str, revision: int, seed: int, config: Config, defaults: Config) -> str | None:
        """Return the folder id of a trial whose result is valid for this one."""
        now = dict(flat(config))
        for keys, specs in self.shelves.get((task, revision, seed), {}).items():
            if keys == now.keys():  # then the ids would be equal
                continue
            shared = sorted(keys & now.keys())
            place = (task, revision, seed, keys, tuple(shared))
            if place not in self.indexes:
                index = self.indexes[place] = {}
                for spec in specs:
                    index.setdefault(_values(dict(flat(spec["config"])), shared), []).append(spec)
            for spec in self.indexes[place].get(_values(now, shared), []):
                if reusable(spec, config, defaults) and not self._moved(now.keys() - keys, defaults):
                    return str(spec["folder"])
        return None

    def _moved(self, keys: Iterable[str], defaults: Config) -> bool:
        """Whether one of these keys has ever had another default: then a config without it may not mean ours."""
        names, today = _names(defaults), dict(flat(defaults))
        for key in keys:
            if (names, key) not in self.moved:
                then = (dict(flat(spec.get("defaults", {}))) for spec in self.specs if _named(spec) == names)
                self.moved[names, key] = any(key in old and not _same(old[key], today[key]) for old in then)
            if self.moved[names, key]:
                return True
        return False


def _names(defaults: Mapping[str, Any]) -> str:
    """What a default belongs to: a model's options have their defaults per model."""
    return canonical_json([value for key, value in sorted(flat(defaults)) if key.split(".")[-1] == "name"])


def _named(spec: Spec) -> str:
    return _names(spec.get("defaults", {}))


def _values(config: Mapping[str, Any], keys: list[str]) -> str:
    return canonical_json([config[key] for key in keys])


def task_name(ref: str) -> str:
    """A spec's task, which may be the path of a file, as it counts for identity: the file's name."""
    return ref.rsplit("/", 1)[-1]
