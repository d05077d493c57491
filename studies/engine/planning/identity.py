"""What makes two trials the same: the whole resolved config, the seed, the task and its revision. Nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
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
        all(same(then[key], now[key]) for key in then.keys() & now.keys())
        and all(key in now_default and same(now[key], now_default[key]) for key in now.keys() - then.keys())
        and all(key in then_default and same(then[key], then_default[key]) for key in then.keys() - now.keys())
    )


def same(left: Any, right: Any) -> bool:
    """Return whether two values are equal as JSON: 1 and 1.0 are not."""
    return canonical_json(left) == canonical_json(right)


def task_name(ref: str) -> str:
    """A spec's task, which may be the path of a file, as it counts for identity: the file's name."""
    return ref.rsplit("/", 1)[-1]
