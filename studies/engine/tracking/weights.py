"""The weights that a trial has kept, as MLflow's logged model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from studies.engine.core.config import flat
from studies.engine.storage.trial_folder import TrialFolder
from studies.engine.tracking.names import to_params, to_tags

UPLOAD_LIMIT = 32 * 2**20
"""Bytes. Larger files stay where they are; the model's tags say where."""


class Weights(NamedTuple):
    name: str
    file: str
    size: int
    tags: dict[str, str]
    params: dict[str, str]

    @property
    def is_small(self) -> bool:
        return self.size <= UPLOAD_LIMIT


def weights(
    folder: TrialFolder, result: Mapping[str, Any], config: Mapping[str, Any], origin: dict[str, str]
) -> Weights | None:
    """Return the weights that a finished trial has kept; None without any, or where the file is gone.

    origin: tags of who made it how.
    """
    kept = result.get("kept_weights") or {}
    if not kept.get("file"):
        return None
    file = folder.path / kept["file"]
    try:
        size = file.stat().st_size
    except OSError:
        return None
    model = config.get("model")
    name = str(model.get("name") or "") if isinstance(model, Mapping) else ""
    tags = {
        **origin,
        "trial_id": folder.id,
        "weights": str(file.resolve()),
        "bytes": str(size),
        "sha256": str(kept.get("sha256", "")),
        "load": f"dynvit.load_trial({str(folder.path.resolve())!r})" if name else "",
    }
    params = dict(flat(model)) if isinstance(model, Mapping) else {}
    return Weights(re.sub(r"[/:.%\"']", "_", name or folder.id), str(file), size, to_tags(tags), to_params(params))
