"""A database that was moved or copied with its results folder names files beside it, not those at the old place."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

FOLDER = "mlartifacts"
COLUMNS = (("experiments", "artifact_location"), ("runs", "artifact_uri"), ("logged_models", "artifact_location"))


def follow(database: Path, study: str) -> None:
    """Let a study's experiment, its runs and models name the folder of files beside the database; MLflow's client
    cannot change that, and would write to the old place. The experiments of other studies move with it."""
    here, end = str(database.parent / FOLDER), f"/{FOLDER}/{study}"
    with closing(sqlite3.connect(database, timeout=20)) as opened, opened:
        if not opened.execute("SELECT 1 FROM sqlite_master WHERE name = 'logged_models'").fetchall():
            return  # nothing has been written yet
        locations = opened.execute("SELECT artifact_location FROM experiments").fetchall()
        for there in {old.removesuffix(f"/{study}") for (old,) in locations if str(old).endswith(end)} - {here}:
            for table, column in COLUMNS:
                opened.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, length(?) + 1)"
                    f" WHERE substr({column}, 1, length(?) + 1) = ? || '/'",
                    [here, there, there, there],
                )
