"""Metadata of a config field that holds a timm model's name and options."""

from __future__ import annotations

GIVEN = ("img_size", "in_chans", "num_classes", "drop_path_rate")
"""Model options that a task sets itself, from its data and training options."""

MODEL_FIELD = {"kind": "model", "given": GIVEN}
