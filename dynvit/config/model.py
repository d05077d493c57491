"""Metadata of config fields that hold the name and the options of a timm model or of a token reducer, say where
weights come from, or were added later."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

GIVEN = ("img_size", "in_chans", "num_classes", "drop_path_rate")
"""Model options that a task sets itself, from its data and training options."""

MODEL_FIELD = {"kind": "model", "given": GIVEN}
REDUCER_FIELD = {"kind": "reducer", "given": ()}
"""Metadata of a field, at the top of a config, that holds a token reducer's name and options; it stands in resolved
configs, and thus in trials' identity, only where a reducer is named."""
WEIGHTS_FIELD = {"kind": "weights"}
"""A file, which a study file may name by the arm that leaves it. model: the field beside it whose model they are of."""
ADDED_FIELD = {"kind": "added"}
"""A field that older trials do not have: at its default it is left out of resolved configs, so that their ids stay."""

FURTHER_DATA = {"kind": "further", "of": "data_sets"}
"""A mapping that holds all keys of the section that are none of its fields: options of the data set of its `name`."""
LOSS_FIELD = {**ADDED_FIELD, "of": "losses"}
"""Name and options of a registered loss; empty: none."""


def named_weights(config: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield option and path of the weights that a config names in files; an arm's, which are made first, are none."""
    for field in fields(config):
        key, value = prefix + field.name, getattr(config, field.name)
        if field.metadata.get("kind") == "weights":
            path = value.removeprefix("official ").strip() if key == "init" else value
            if path and not path.startswith(("trial:", "trial ")) and (key, value) != ("init", "timm"):
                yield key, path
        elif is_dataclass(value):
            yield from named_weights(value, f"{key}.")
