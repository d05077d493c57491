"""Copies of the user's own code, by content, in ``results/code/own-<fingerprint>``: what trials import, wherever they
run, and what an export contains."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

from studies.engine.core.files import read_json
from studies.engine.core.own_code import OwnCode

MANIFEST = "own.json"
"""In a copy: its fingerprint, the digests of its files, versions of installed packages, where modules are found."""


def take(results: Path, own: OwnCode) -> Path:
    """Return the copy, creating it if it is missing."""
    target = results / own.copy
    if (target / MANIFEST).exists():
        return target
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{uuid.uuid4().hex[:6]}")
    try:
        for name, body in own.bodies.items():
            file = temporary / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(body)
        temporary.mkdir(parents=True, exist_ok=True)
        manifest = {**own.record, "imports": own.imports, "folders": list(own.folders)}
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
        os.rename(temporary, target)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        if not (target / MANIFEST).exists():  # else another driver was faster
            raise
    return target


def manifest(copy: Path) -> dict[str, Any]:
    """Return what a copy's manifest says; FileNotFoundError where the copy is not there."""
    found = read_json(copy / MANIFEST)
    if found is None:
        raise FileNotFoundError(f"{copy} holds no copy of own code; `studies run` makes it again")
    return found


def record(copy: Path) -> dict[str, Any]:
    """Return what an environment says of the own code in a copy; empty where the copy is not there."""
    found = read_json(copy / MANIFEST) or {}
    return {key: found[key] for key in ("fingerprint", "files", "installed") if key in found}


def of_spec(spec: dict[str, Any], results: Path) -> Path | None:
    """Return the copy that a trial runs; None where its study imports nothing."""
    return results / spec["own"] if spec.get("own") else None
