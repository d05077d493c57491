"""Where MLflow is, and what is known of it without importing it."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

PROBE_SECONDS, ANSWER_SECONDS = 3.0, 10.0
"""Timeouts to connect, and to get any answer: a hanging server still accepts connections."""


def default(results: Path) -> str:
    """Return MLFLOW_TRACKING_URI if it names a server, else the database in the results folder."""
    asked = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    return asked if is_server(asked) else f"sqlite:///{results.resolve() / 'mlflow.db'}"


def is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def artifacts(uri: str, results: Path, experiment: str) -> str | None:
    """Return the artifact folder of an experiment; None for a server, which has its own."""
    return None if is_server(uri) else str(results.resolve() / "mlartifacts" / experiment)


def database(uri: str) -> Path | None:
    """Return the database file; None for a server."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def lock(uri: str, folder: Path) -> Path:
    """Return the lock file of the writer: next to a database file, else in the study folder."""
    file = database(uri)
    return file.with_name(f"{file.name}.lock") if file else folder / ".mirror.lock"


def answers(uri: str) -> bool:
    """Whether the server answers (always true for a file); MLflow's client would retry a dead one for minutes."""
    if not is_server(uri):
        return True
    parts = urllib.parse.urlsplit(uri)
    host = parts.hostname or ""
    if urllib.request.getproxies().get(parts.scheme) and not urllib.request.proxy_bypass(host):
        return True  # only the proxy knows
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        with socket.create_connection((host, port), timeout=PROBE_SECONDS):
            pass
        path = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}/health"
        with urllib.request.urlopen(path, timeout=ANSWER_SECONDS):
            return True
    except urllib.error.HTTPError:
        return True  # any answer will do
    except urllib.error.URLError as error:
        return isinstance(error.reason, ssl.SSLError)  # MLflow decides whether to trust it
    except (OSError, ValueError, http.client.HTTPException):
        return False


def without_password(uri: str) -> str:
    """Return the URI without a password."""
    parts = urllib.parse.urlsplit(uri)
    return uri.replace(f"{parts.username or ''}:{parts.password}@", "…@") if parts.password else uri


def database_stamp(uri: str) -> tuple[int, int]:
    """Return inode and size of the database file, which never shrinks; -1 if it is missing, 0 for a server."""
    path = database(uri)
    if path is None:
        return 0, 0
    try:
        found = path.stat()
    except OSError:
        return -1, -1
    return found.st_ino, found.st_size
