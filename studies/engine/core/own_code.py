"""The user's own code that a study imports: what it consists of, and how two versions of it differ."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any


@dataclass(frozen=True, eq=False)
class OwnCode:
    """Read once: what was checked is what is copied and run, whatever happens to the files meanwhile."""

    imports: tuple[str, ...]
    """Files by their path below the copy, modules by name."""
    bodies: Mapping[str, bytes]
    """Content of every file, by its path below the copy."""
    sources: Mapping[str, Path]
    """Where each was found."""
    folders: Mapping[str, Path]
    """Folders of the copy in which modules are looked for, and where each of them is from."""
    installed: Mapping[str, str] = field(default_factory=dict)
    """Versions of installed packages that are imported, which are not copied."""
    task: str = ""
    """File of the task, by its path below the copy; empty for a task of dynvit."""

    @cached_property
    def digests(self) -> dict[str, str]:
        return {name: hashlib.sha256(body).hexdigest()[:12] for name, body in sorted(self.bodies.items())}

    @cached_property
    def fingerprint(self) -> str:
        """Return twelve hexadecimal digits over everything that may change what it does."""
        parts = [self.imports, self.digests, list(self.folders), sorted(self.installed.items())]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]

    @property
    def copy(self) -> str:
        """Return the folder of its copy in a results folder."""
        return f"code/own-{self.fingerprint}"

    @property
    def spec(self) -> dict[str, Any]:
        """Return what spec.json of a trial has: task and imports, their files relative to the copy."""
        return {"imports": list(self.imports), "own": self.copy} | ({"task": self.task} if self.task else {})

    @property
    def record(self) -> dict[str, Any]:
        """Return what a trial's environment says of it."""
        return {"fingerprint": self.fingerprint, "files": self.digests, "installed": dict(self.installed)}

    @property
    def locations(self) -> list[str]:
        """Return the imports as a process loads them that runs where the files are: absolute paths and modules."""
        return [str(self.sources[name]) if name in self.sources else name for name in self.imports]

    def changes(self, record: Mapping[str, Any]) -> list[str]:
        """Return how the code that a trial ran differs: its files and packages, each with what happened to it."""
        return list(self._changes(record)) if record.get("fingerprint") != self.fingerprint else []

    def _changes(self, record: Mapping[str, Any]) -> Iterator[str]:
        before: Mapping[str, str] = record.get("files") or {}
        for name in sorted({*before, *self.digests}):
            if name not in self.digests:
                yield f"{name} (no longer imported)"
            elif name not in before:
                yield f"{name} (new)"
            elif before[name] != self.digests[name]:
                yield name
        versions: Mapping[str, str] = record.get("installed") or {}
        for name in sorted({*versions, *self.installed}):
            if (old := versions.get(name, "none")) != (new := self.installed.get(name, "none")):
                yield f"{name} {old} -> {new}"
