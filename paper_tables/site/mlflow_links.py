"""Links from trials to their runs on an MLflow server. Standard library only."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from paper_tables.core.paths import contents

MIRROR = ".mirror.json"


def links(folder: Path) -> dict[str, str]:
    """Return trial -> URL of its run; empty for a file store, which no browser can open."""
    try:
        mirror = json.loads(contents(folder / MIRROR))
        server, trials = _address(str(mirror["uri"])), mirror["trials"].items()
        return {name: f"{server}/#/runs/{run['run']}" for name, run in trials if server and run["run"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _address(uri: str) -> str:
    """Return the URL without user and password."""
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return ""
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return urlunsplit((parts.scheme, f"{host}:{parts.port}" if parts.port else host, parts.path.rstrip("/"), "", ""))
