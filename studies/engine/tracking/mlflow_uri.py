"""Where MLflow is, and what is known of it without importing it."""

from __future__ import annotations

import http.client
import os
import re
import sqlite3
import ssl
import urllib.error
import urllib.parse
import urllib.request
from contextlib import closing
from importlib import metadata
from pathlib import Path

from studies.engine.core.secrets import hide_secrets

ANSWER_SECONDS = 10.0
"""To wait for any answer: a frozen server still accepts connections."""

QUOTED = "sqlite+pysqlite:///"
"""Begins the address of a database in whose path some characters are quoted."""


def default(results: Path) -> str:
    """Return MLFLOW_TRACKING_URI if it names a server, else the database in the results folder."""
    asked = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    if is_server(asked):
        return asked
    file = str(results.resolve() / "mlflow.db")
    if "%" not in file and "?" not in file:
        return f"sqlite:///{file}"
    # These mean something in an address. With its driver named, MLflow does not make the folder of the quoted path.
    return f"{QUOTED}{file.replace('%', '%25').replace('?', '%3F')}"


def unserved(results: Path) -> str:
    """Return a note on an MLFLOW_TRACKING_URI that `default` does not follow; empty if it does."""
    asked = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    if asked in ("", default(results)):
        return ""
    return f"MLFLOW_TRACKING_URI={hide_secrets(asked)} is not used: only http:// and https:// are"


def is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def database(uri: str) -> Path | None:
    """Return the database file; None for a server."""
    if is_server(uri):
        return None
    return Path(urllib.parse.unquote(uri[len(QUOTED) :]) if uri.startswith(QUOTED) else uri.removeprefix("sqlite:///"))


def database_stamp(uri: str) -> list[int]:
    """Return inode and size of the database file, which never shrinks; -1 if it is missing, 0 for a server."""
    if (file := database(uri)) is None:
        return [0, 0]
    try:
        found = file.stat()
    except OSError:
        return [-1, -1]
    return [found.st_ino, found.st_size]


def problem(uri: str) -> str:
    """Return why MLflow cannot be used there, empty if it seems usable; its own client would try for minutes."""
    if (file := database(uri)) is None:
        try:
            _ = urllib.parse.urlsplit(uri).port
        except ValueError:
            if "@" in uri:
                return "MLFLOW_TRACKING_URI is no address (in a password / is %2F, ? is %3F, # is %23)"
            return f"no MLflow server answers at {hide_secrets(uri)}"
        return "" if _answers(uri) else f"no MLflow server answers at {hide_secrets(uri)}"
    if uri.startswith(QUOTED) and not _decodes():
        return f"{file}: with % or ? in a folder's name MLflow's database needs SQLAlchemy 2.1"
    if file.exists():
        try:
            with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=1)) as opened:
                opened.execute("SELECT name FROM sqlite_master")
        except sqlite3.Error as error:
            if "locked" not in str(error):  # a writer at work
                return f"{file} cannot be opened: {error}"
    return ""


def _decodes() -> bool:
    """Return whether the SQLAlchemy that is installed reads the path of a database as an address has it."""
    found = re.match(r"(\d+)\.(\d+)", metadata.version("sqlalchemy"))
    return found is None or (int(found[1]), int(found[2])) >= (2, 1)


def _answers(uri: str) -> bool:
    parts = urllib.parse.urlsplit(uri)
    if urllib.request.getproxies().get(parts.scheme) and not urllib.request.proxy_bypass(parts.hostname or ""):
        return True  # only the proxy knows
    try:
        bare = urllib.parse.urlsplit(hide_secrets(uri))._replace(query="", fragment="").geturl()
        with urllib.request.urlopen(f"{bare.rstrip('/')}/health", timeout=ANSWER_SECONDS):
            return True
    except urllib.error.HTTPError:
        return True  # any answer will do
    except urllib.error.URLError as error:
        return isinstance(error.reason, ssl.SSLError)  # MLflow decides whether to trust it
    except (OSError, ValueError, http.client.HTTPException):
        return False
