"""What dynvit offers and answers, not imported but read: from the shipped copy, the user's cache, or a child process.

``python -m studies.engine.catalog.description`` renews the shipped copy.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from studies.engine.catalog import fingerprint
from studies.engine.catalog.child import DescribeProcess
from studies.engine.catalog.json_types import config_class
from studies.engine.core.own_code import OwnCode

SHIPPED = Path(__file__).with_name("description.json")
KEPT_ANSWERS = 50_000


class Dynvit:
    """One state of dynvit's sources, and of the user's own code that is imported besides."""

    def __init__(self, package: Path, source: str, own: OwnCode | None = None, plain: Dynvit | None = None) -> None:
        """plain: the same without own code."""
        self.source = source if own is None else f"{source}-{own.fingerprint}"
        self.child = DescribeProcess(package, own)
        self._plain = plain
        self._answers: dict[str, dict[str, Any]] = {}

    @cached_property
    def description(self) -> Mapping[str, Any]:
        """What ``python -m dynvit.describe`` prints."""
        shipped: Mapping[str, Any] = json.loads(SHIPPED.read_text(encoding="utf-8")) if SHIPPED.exists() else {}
        if shipped.get("fingerprint") == self.source:
            return shipped
        return self._kept("all", "describe")

    @cached_property
    def timm(self) -> Mapping[str, Any]:
        """What ``python -m dynvit.describe --timm`` prints."""
        return self._plain.timm if self._plain else self._kept("timm", "timm")

    @cached_property
    def configs(self) -> Mapping[str, type]:
        """The config class of each task."""
        return {name: config_class(task["config"]) for name, task in self.description["tasks"].items()}

    def check(self, task: str, configs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Return the task's answer for each resolved config, see ``dynvit.describe.check``; all unknown ones are asked
        for at once."""
        if task not in self._answers:
            self._answers[task] = fingerprint.read_cached(self._file(task)) or {}
        known, keys = self._answers[task], [_key(config) for config in configs]
        unknown = {key: c for key, c in zip(keys, configs, strict=True) if not _is_valid(known.get(key))}
        if unknown:
            answers = self.child.ask("check", task=task, configs=list(unknown.values()))
            known.update(zip(unknown, answers, strict=True))
            kept = {**(fingerprint.read_cached(self._file(task)) or {}), **known}
            fingerprint.write_cached(self._file(task), dict([*kept.items()][-KEPT_ANSWERS:]))
        return [known[key] for key in keys]

    def _kept(self, name: str, call: str) -> Mapping[str, Any]:
        kept = fingerprint.read_cached(self._file(name))
        if isinstance(kept, dict):
            return kept
        found: Mapping[str, Any] = self.child.ask(call)
        fingerprint.write_cached(self._file(name), found)
        return found

    def _file(self, name: str) -> str:
        versions = hashlib.sha256(fingerprint.library_versions().encode()).hexdigest()[:8]
        return f"description-{self.source}-{versions}-{name}.json"


def _key(config: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:24]


def _is_valid(answer: Mapping[str, Any] | None) -> bool:
    """Return whether an answer is there and the folders that it depends on are as they were."""
    if answer is None or "folders" not in answer:
        return answer is not None
    then: Mapping[str, Any] = answer["folders"]
    environ = {name: os.environ.get(name) for name in then["environ"]}
    places = {path: _last_change(path) for path in then["places"]}
    return bool(then == {"cwd": os.getcwd(), "environ": environ, "places": places})


def _last_change(path: str) -> int | None:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return None


_current: Dynvit | None = None
_with_own: dict[str, Dynvit] = {}
"""By the fingerprint of the own code; of one state of dynvit."""
KEPT_PROCESSES = 4
"""Of own code: the child processes of older versions are ended."""


def current(own: OwnCode | None = None, renew: bool = False) -> Dynvit:
    """Return dynvit as it is, with the user's own code. renew: look whether its sources have changed since."""
    global _current
    if _current is None or renew:
        package = fingerprint.package_folder()
        source = fingerprint.source_fingerprint(package)
        if _current is None or source != _current.source:
            for older in filter(None, [_current, *_with_own.values()]):
                older.child.close()
            _with_own.clear()
            _current = Dynvit(package, source)
    if own is None:
        return _current
    if own.fingerprint not in _with_own:
        for oldest in list(_with_own)[: 1 - KEPT_PROCESSES]:
            _with_own.pop(oldest).child.close()
        _with_own[own.fingerprint] = Dynvit(_current.child.package, _current.source, own, _current)
    return _with_own[own.fingerprint]


def write_shipped() -> None:
    """Write the shipped copy from the sources as they are: one line per class, model, task and recipe."""
    dynvit = current(renew=True)
    parts = [f'"fingerprint": "{dynvit.source}"']
    for name, entries in dynvit.child.ask("describe").items():
        lines = [f"{json.dumps(key)}: {json.dumps(entry, ensure_ascii=False)}" for key, entry in entries.items()]
        parts.append(f'"{name}": {{\n ' + ",\n ".join(lines) + "\n}")
    SHIPPED.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    write_shipped()
    print(f"{SHIPPED} renewed", file=sys.stderr)
