"""env.json: the machine and package versions of a trial. Imports nothing heavy."""

from __future__ import annotations

import platform
import socket
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from studies.engine.core.processes import command_output
from studies.engine.core.secrets import hide_secrets
from studies.engine.storage import inputs, own_snapshot
from studies.engine.storage.code_snapshot import source

PACKAGES = ("torch", "torchvision", "timm", "numpy", "scikit-learn", "ray", "submitit", "mlflow", "pandas")


def describe(device: str) -> dict[str, Any]:
    """Return the contents of env.json."""
    return {**_machine(), **source(), "gpu": gpu() if device.startswith("cuda") else "", "device": device}


def of_spec(spec: dict[str, Any], results: Path) -> dict[str, Any]:
    """Return the own code and the files that a trial is about to read, by content."""
    copy, named = own_snapshot.of_spec(spec, results), spec.get("inputs") or {}
    read = {key: found for key, path in named.items() if (found := inputs.describe(Path(path)))}
    return {**({"own": own_snapshot.record(copy)} if copy else {}), **({"inputs": read} if read else {})}


@cache
def gpu() -> str:
    """Return the name of the first GPU, empty where nvidia-smi gives none."""
    return _nvidia_smi("name")


def _nvidia_smi(field: str) -> str:
    return command_output("nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader").split("\n")[0].strip()


@cache
def _machine() -> dict[str, Any]:
    return {
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "driver": _nvidia_smi("driver_version"),
        "command": [hide_secrets(argument) for argument in sys.argv],
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
