"""A copy of the code by content, so that editing while trials wait or run changes nothing for them."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from functools import cache
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any

from studies.engine.core.files import read_json
from studies.engine.core.processes import command_output

PACKAGES = ("dynvit", "studies")
SUFFIXES = (".py", ".json")
SOURCE = "source.json"
"""In a snapshot: git state and fingerprint of the tree it was taken from."""
BUILT = "studies/engine/storage/built.json"
"""In a wheel: git state of the tree it was built from."""
CLOCK_SECONDS = 3.0
"""Seconds by which clocks of file systems and machines are trusted."""


@cache
def root() -> Path:
    """Return the folder with the packages that this process runs."""
    return Path(__file__).resolve().parents[3]


@cache
def fingerprint(folder: Path, packages: tuple[str, ...] = ("dynvit",)) -> str:
    """Return twelve hexadecimal digits of a hash over every file of the packages."""
    digest = hashlib.sha256()
    for file in _files(folder, packages):
        body = file.read_bytes()
        digest.update(f"{file.relative_to(folder).as_posix()}\0{len(body)}\0".encode() + body)
    return digest.hexdigest()[:12]


@cache
def source() -> dict[str, Any]:
    """Return git sha, whether the tree is dirty (in a snapshot: of the original tree), and the fingerprint of dynvit.

    The engine is left out: a change of it changes no result.
    """
    written = read_json(root() / SOURCE)
    if written is not None:
        return {**{key: written.get(key) for key in ("git", "source")}, "code": root().name}
    return {"git": git(root()), "source": fingerprint(root())}


def git(folder: Path) -> dict[str, Any] | None:
    """Return sha and whether it is dirty; None outside a repository or without git.

    Of an installed wheel: of the tree that it was built from, which ``setup.py`` writes into it.
    """
    if (built := read_json(folder / BUILT)) is not None:
        return {key: built.get(key) for key in ("sha", "dirty")}
    sha = command_output("git", "-C", str(folder), "rev-parse", "HEAD")
    if not sha:
        return None
    changed = command_output(
        "git", "-C", str(folder), "status", "--porcelain", "--untracked-files=no", "--", "dynvit", "studies"
    )
    return {"sha": sha, "dirty": bool(changed)}


def take(results: Path) -> Path:
    """Return the snapshot of the running code under ``results/code``, creating it if it is missing."""
    target = results / "code" / fingerprint(root(), PACKAGES)
    if os.pathsep in str(target):  # workers would run the code that is installed, edits and all
        raise OSError(errno.EINVAL, f"a path with {os.pathsep!r} is two for Python, so that workers find no code there")
    if (target / SOURCE).exists():
        return target
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{uuid.uuid4().hex[:6]}")
    try:
        for file in _files(root(), PACKAGES):
            copy = temporary / file.relative_to(root())
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, copy)
            _copy_bytecode(file, copy)
        (temporary / SOURCE).write_text(json.dumps(source()) + "\n")
        os.rename(temporary, target)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        if not (target / SOURCE).exists():  # else another driver was faster
            raise
    return target


def _copy_bytecode(file: Path, copy: Path) -> None:
    """Spare the trials of a new results folder to compile the package anew, where what is compiled is this very file.

    Python compares whole seconds and sizes; a file that was last written well before it was compiled is no later one.
    """
    compiled, beside = (Path(cache_from_source(str(each))) for each in (file, copy))
    try:
        if file.suffix != ".py" or file.stat().st_mtime + CLOCK_SECONDS >= compiled.stat().st_mtime:
            return
        bytecode = compiled.read_bytes()
    except OSError:  # not there, or another user's
        return
    beside.parent.mkdir(exist_ok=True)
    beside.write_bytes(bytecode)


def _files(folder: Path, packages: tuple[str, ...]) -> Iterator[Path]:
    for package in packages:
        for file in sorted((folder / package).rglob("*")):
            if file.suffix in SUFFIXES and file.is_file():
                yield file
