"""Which MLflow experiment is a study folder's, where several results folders share a server."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

OWNER = "dynvit.results"
"""Tag of an experiment: the study folder that it is a copy of."""
ALL = 3
"""MLflow's ViewType: experiments in the trash, too, as their names are still taken."""


def place(folder: Path) -> str:
    """Return what names a study folder among those of all machines: ``node1:/home/me/results/toy``."""
    return f"{socket.gethostname()}:{folder}"


def was_moved(before: str, here: str) -> bool:
    """Whether a folder that was at one place is at another now, and no copy: its place is gone, or has this path on
    another machine that shares it."""
    host, _, path = before.partition(":")
    this_host, _, this_path = here.partition(":")
    return path == this_path if host != this_host else not Path(path).exists()


def find_or_create(client: Any, name: str, owner: str, before: str, artifacts: str | None, tags: dict[str, str]) -> Any:
    """Return a study folder's experiment, under whatever name a user has given it.

    One that another folder fills keeps its runs: this folder's experiment then has its place in its name.

    Args:
        owner: the study folder as the tag says it. before: as it was in the last pass; empty where there was none.
        artifacts: folder of a new experiment's files; None for a server, which has its own. tags: of a new experiment.
    """
    for known in dict.fromkeys((owner, before)):
        if known and (known == owner or was_moved(known, owner)) and (found := _tagged(client, known)) is not None:
            return _claimed(client, found, owner)
    for called in (name, f"{name} ({owner})"):
        found = client.get_experiment_by_name(called)
        if found is None:
            made = client.create_experiment(called, artifact_location=artifacts, tags={**tags, OWNER: owner})
            return client.get_experiment(made)
        if not found.tags.get(OWNER):  # of an earlier version, or made by hand
            return _claimed(client, found, owner)
    raise ValueError(f"the experiment {called} is of {found.tags[OWNER]}")


def _tagged(client: Any, owner: str) -> Any:
    quote = '"' if "'" in owner else "'"
    found = client.search_experiments(ALL, filter_string=f"tags.`{OWNER}` = {quote}{owner}{quote}")
    return found[0] if found else None


def _claimed(client: Any, found: Any, owner: str) -> Any:
    if found.tags.get(OWNER) != owner:
        client.set_experiment_tag(found.experiment_id, OWNER, owner)
    if found.lifecycle_stage != "active":
        client.restore_experiment(found.experiment_id)
    return found
