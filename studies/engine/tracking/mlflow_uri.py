"""Where MLflow is, and what can be told of it without importing it."""

from __future__ import annotations

import http.client
import os
import socket
import sqlite3
import ssl
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

TOKEN = "dynvit.mirror"
"""The experiment's tag that tells one database from another."""
PROBE_SECONDS, ANSWER_SECONDS = 3.0, 10.0
"""To connect; and to get any answer at all: a server that hangs accepts connections."""


def default(results: Path) -> str:
    """MLFLOW_TRACKING_URI where it names a server, else a database in the results folder."""
    asked = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    return asked if is_server(asked) else f"sqlite:///{results.resolve() / 'mlflow.db'}"


def is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def artifacts(uri: str, results: Path, experiment: str) -> str | None:
    """The folder of an experiment's artifacts; a server decides itself."""
    return None if is_server(uri) else str(results.resolve() / "mlartifacts" / experiment)


def database(uri: str) -> Path | None:
    """The database's file, None where it is none."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def lock(uri: str, folder: Path) -> Path:
    """Of the one writer: beside a database file, else in the study folder."""
    file = database(uri)
    return file.with_name(f"{file.name}.lock") if file else folder / ".mirror.lock"


def answers(uri: str) -> bool:
    """Whether a server answers where one should be; a client of a dead or hanging one would try for minutes."""
    if not is_server(uri):
        return True
    parts = urllib.parse.urlsplit(uri)
    host = parts.hostname or ""
    if urllib.request.getproxies().get(parts.scheme) and not urllib.request.proxy_bypass(host):
        return True  # only the proxy can tell
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        with socket.create_connection((host, port), timeout=PROBE_SECONDS):
            pass
        path = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}/health"
        with urllib.request.urlopen(path, timeout=ANSWER_SECONDS):
            return True
    except urllib.error.HTTPError:
        return True  # an answer, if not the one to that question
    except urllib.error.URLError as error:
        return isinstance(error.reason, ssl.SSLError)  # whether to trust it is for MLflow to say
    except (OSError, ValueError, http.client.HTTPException):
        return False


def shown(uri: str) -> str:
    """The URI without a password."""
    parts = urllib.parse.urlsplit(uri)
    return uri.replace(f"{parts.username or ''}:{parts.password}@", "…@") if parts.password else uri


def token(uri: str, experiment: str) -> str | None:
    """The experiment's token in a database file, empty where there is none; None where only MLflow can tell."""
    path = database(uri)
    if path is None:
        return None
    if not path.exists():
        return ""
    query = (
        "SELECT t.value FROM experiment_tags t JOIN experiments e USING (experiment_id)"
        " WHERE e.name = ? AND e.lifecycle_stage = 'active' AND t.key = ?"
    )
    try:
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5)
        try:
            row = connection.execute(query, (experiment, TOKEN)).fetchone()
        finally:
            connection.close()
    except sqlite3.Error:
        return ""
    return str(row[0]) if row else ""
