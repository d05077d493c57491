"""Which dynvit this is, by the content of its files, and where answers about it are kept between processes."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

KEPT_FILES = 24
"""Files in the cache folder; older ones are deleted."""


@cache
def package_folder() -> Path:
    """Return the folder of the package dynvit, without importing it. FileNotFoundError where it is not installed."""
    spec = find_spec("dynvit")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("the package dynvit is not installed")
    return Path(next(iter(spec.submodule_search_locations)))


def source_fingerprint(folder: Path) -> str:
    """Return a hash of the names and contents of a package's Python and YAML files."""
    found = hashlib.sha256()
    for path in sorted(_sources(str(folder))):
        with open(path, "rb") as file:
            content = hashlib.sha256(file.read()).digest()
        found.update(os.path.relpath(path, folder).encode() + b"\0" + content)
    return found.hexdigest()[:16]


def _sources(folder: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                if entry.name != "__pycache__":
                    yield from _sources(entry.path)
            elif entry.name.endswith((".py", ".yaml")):
                yield entry.path


@cache
def library_versions() -> str:
    """Return the installed versions of timm and torch."""
    found = []
    for name in ("timm", "torch"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    return ", ".join(found)


def cache_folder() -> Path:
    """Return $DYNVIT_CACHE, or the user's cache folder for this project."""
    if folder := os.environ.get("DYNVIT_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dynvit"


def read_cached(name: str) -> Any:
    """Return what `write_cached` has kept under that name; None where there is nothing readable."""
    try:
        return json.loads((cache_folder() / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def write_cached(name: str, value: Any) -> None:
    """Keep a JSON value for later processes, if the folder can be written; without it they only take longer."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=folder, suffix=".tmp", delete=False, encoding="utf-8") as file:
            json.dump(value, file, separators=(",", ":"))
        os.replace(file.name, folder / name)
        files = sorted(folder.glob("description-*"), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in files[KEPT_FILES:]:
            old.unlink(missing_ok=True)
    except OSError:
        pass
