"""Where MLflow shows a trial, if its results were mirrored to a server. Standard library only."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

MIRROR = ".mirror.json"


def links(folder: Path) -> dict[str, str]:
    """Trial -> the address of its run; nothing for a database in a file, which no browser opens."""
    try:
        mirror = json.loads((folder / MIRROR).read_bytes())
        server, trials = _address(str(mirror["uri"])), mirror["trials"].items()
        return {name: f"{server}/#/runs/{told['run']}" for name, told in trials if server and told["run"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _address(uri: str) -> str:
    """Without user and password."""
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return ""
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return urlunsplit((parts.scheme, f"{host}:{parts.port}" if parts.port else host, parts.path.rstrip("/"), "", ""))
