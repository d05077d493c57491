"""The data set of a trial, as MLflow keeps it: name, digest, source, settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from studies.engine.tracking.names import digest


class DataSet(NamedTuple):
    name: str
    digest: str
    """Fingerprint of its files where the trial has recorded one (env.json, `inputs`), else of the settings."""
    source_type: str
    source: str
    """JSON, as the type has it."""
    profile: str
    """The settings, in JSON."""


def data_set(config: Mapping[str, Any], env: Mapping[str, Any]) -> DataSet | None:
    """Return the data set that a config names; None where it has none."""
    data = config.get("data")
    if not isinstance(data, Mapping) or not isinstance(name := data.get("name"), str) or not name:
        return None
    root, repository = str(data.get("root") or ""), str(data.get("repository") or "")
    settings = {key: value for key, value in data.items() if key != "augment" and value not in (None, "", [], {})}
    source: dict[str, object]
    source_type, source = "code", {"tags": {"mlflow.source.name": f"data.name: {name}"}}
    if repository:
        source_type, source = "hugging_face", {"path": repository}
    elif root:
        source_type, source = "local", {"uri": root}
    read = [found for key, found in (env.get("inputs") or {}).items() if key.partition(".")[0] == "data"]
    found = next((of_files.get("listing") or of_files.get("sha256") for of_files in read), "")
    return DataSet(
        name=repository or (f"{name} {root.rstrip('/').rpartition('/')[2]}" if root else name),
        digest=str(found or f"settings-{digest(settings)}")[:36],
        source_type=source_type,
        source=json.dumps(source),
        profile=json.dumps(settings, sort_keys=True),
    )
