"""Warnings about a config on this machine and with this data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dynvit.checkpoint.read import InitError, weights_file
from dynvit.config.classify import Config
from dynvit.config.data import IN_FOLDERS, KNOWN_SETS, Data
from dynvit.config.extensions import DATA_SETS
from dynvit.config.model import named_weights
from dynvit.config.warnings import warnings
from dynvit.context import Context
from dynvit.data.batches import Batches
from dynvit.data.normalization import expected_by, mean_std, resolved
from dynvit.data.paths import find_root
from dynvit.train.ema import ema_warning


def config_warnings(config: Config) -> list[str]:
    """Return warnings about settings, and about data sets and weights that are not on this machine."""
    used = [config.data, *([config.source.data] if config.source.epochs else [])]
    missing = [text for data in used if (text := _missing_folder(data))]
    return [*warnings(config), *_other_normalization(config), *missing, *_missing_weights(config)]


def log_warnings(config: Config, data: Batches, context: Context) -> None:
    """Log them in a trial, and what its data set left out."""
    slow = ema_warning(config.train, config.train.epochs * data.steps)
    for text in [*config_warnings(config), *([slow] if slow else [])]:
        context.log_text(f"warning: {text}")
    for remark in data.remarks:
        context.log_text(f"data: {remark.text}")


def _other_normalization(config: Config) -> Iterator[str]:
    data, model = config.data, config.model["name"]
    if config.init == "timm" and data.name not in KNOWN_SETS and mean_std(resolved(data, model)) != expected_by(model):
        mean, std = expected_by(model)
        yield (
            f"timm's weights of {model} expect images normalized to mean {mean}, deviation {std}: data.normalize: model"
        )


def _missing_folder(data: Data) -> str:
    own = DATA_SETS.get(data.name)
    if data.name not in IN_FOLDERS and not (own and data.root and "root" in own.given):
        return ""
    try:
        find_root(data)
    except FileNotFoundError as error:
        return f"{error}; it must be where the trials run (studies doctor --data)"
    return ""


def _missing_weights(config: Config) -> Iterator[str]:
    for key, path in named_weights(config):
        try:
            weights_file(Path(path), key)
        except InitError as error:
            yield f"{error}; it must be where the trials run"
