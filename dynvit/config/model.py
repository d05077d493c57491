"""Metadata of config fields that hold a timm model's name and options, or say where weights come from."""

from __future__ import annotations

GIVEN = ("img_size", "in_chans", "num_classes", "drop_path_rate")
"""Model options that a task sets itself, from its data and training options."""

MODEL_FIELD = {"kind": "model", "given": GIVEN}
WEIGHTS_FIELD = {"kind": "weights"}
"""A file, which a study file may name by the arm that leaves it. model: the field beside it whose model they are of."""
