"""Where and with what a trial ran: env.json. Nothing heavy is imported to find out."""

from __future__ import annotations

import platform
import shutil
import socket
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from studies.engine.storage.code_snapshot import SOURCE, fingerprint, root
from studies.engine.storage.trial_folder import read_json

PACKAGES = ("torch", "torchvision", "timm", "numpy", "scikit-learn", "ray", "submitit", "mlflow", "pandas")


def describe(device: str) -> dict[str, Any]:
    """The contents of env.json."""
    return {**_machine(), **source(), "gpu": gpu() if device.startswith("cuda") else "", "device": device}


@cache
def source() -> dict[str, Any]:
    """git sha and whether the tree is dirty (in a snapshot: of where it was taken); fingerprint of the science's code.

    The engine does not count: a change of it changes no number.
    """
    written = read_json(root() / SOURCE)
    if written is not None:
        return {**{key: written.get(key) for key in ("git", "source")}, "code": root().name}
    return {"git": git(root()), "source": fingerprint(root())}


def git(folder: Path) -> dict[str, Any] | None:
    """None outside a repository or without git."""
    sha = _ask("git", "-C", str(folder), "rev-parse", "HEAD")
    if not sha:
        return None
    changed = _ask("git", "-C", str(folder), "status", "--porcelain", "--untracked-files=no", "--", "dynvit", "studies")
    return {"sha": sha, "dirty": bool(changed)}


@cache
def gpu() -> str:
    """Name of the first GPU, empty where nvidia-smi is absent or silent."""
    return _ask("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").split("\n")[0].strip()


@cache
def _machine() -> dict[str, Any]:
    return {
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "driver": _ask("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader").split("\n")[0].strip(),
        "command": sys.argv,
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _ask(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return ""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
