"""Warnings about a config on this machine and with this data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from dynvit.checkpoint.read import InitError, weights_file
from dynvit.config.classify import Config
from dynvit.config.data import KNOWN_SETS, Data
from dynvit.config.extensions import DATA_SETS
from dynvit.config.model import named_weights
from dynvit.config.warnings import warnings
from dynvit.context import Context
from dynvit.data.batches import Batches
from dynvit.data.factory import FINDERS
from dynvit.data.normalization import mean_std, resolved
from dynvit.data.paths import find_root
from dynvit.train.ema import ema_warning

ELSEWHERE = "; it must be where the trials run"


def config_warnings(config: Config) -> list[str]:
    """Return warnings about settings, and about the folder of one's own data set that is not on this machine."""
    missing = [text for data in _data_sets(config).values() if (text := _missing_folder(data))]
    return [*warnings(config), *_other_normalization(config), *missing]


def missing_files(config: Config) -> list[str]:
    """Return which data sets in files and which weights are not on this machine, where a trial would end at once."""
    splits = (text for key, data in _data_sets(config).items() if (text := _missing_splits(key, data)))
    return [*splits, *_missing_weights(config)]


def _data_sets(config: Config) -> dict[str, Data]:
    return {"data": config.data, **({"source.data": config.source.data} if config.source.epochs else {})}


def log_warnings(config: Config, data: Batches, context: Context) -> None:
    """Log them in a trial, and what its data set left out."""
    slow = ema_warning(config.train, config.train.epochs * data.steps)
    for text in [*config_warnings(config), *([slow] if slow else [])]:
        context.log_text(f"warning: {text}")
    for remark in data.remarks:
        context.log_text(f"data: {remark.text}")


def _other_normalization(config: Config) -> Iterator[str]:
    own, teacher = config.model["name"], config.teacher
    weights = [(own, own)] if config.init == "timm" else []
    if teacher.pretrained and not teacher.checkpoint and (name := teacher.model.get("name")):
        weights.append((f"the teacher {name}", name))
    for key, data in _data_sets(config).items():
        for whose, model in weights if data.name not in KNOWN_SETS else []:
            wanted = mean_std(resolved(replace(data, normalize="model"), model))
            if mean_std(resolved(data, own)) != wanted:
                mean, std = wanted
                given = "model" if model == own else f"[{list(mean)}, {list(std)}]"
                yield (
                    f"timm's weights of {whose} expect images normalized to mean {mean}, deviation {std}: "
                    f"{key}.normalize: {given}"
                )


def _missing_folder(data: Data) -> str:
    own = DATA_SETS.get(data.name)
    if not (own and data.root and "root" in own.given):
        return ""
    try:
        find_root(data)
    except FileNotFoundError as error:
        return f"{error}{ELSEWHERE} (studies doctor --data)"
    return ""


def _missing_splits(key: str, data: Data) -> str:
    try:
        if data.name in FINDERS:
            FINDERS[data.name](data)
    except (OSError, ValueError) as error:
        return f"{key}.{'root' if data.root else 'name'}: {error}{ELSEWHERE} (studies doctor --data)"
    return ""


def _missing_weights(config: Config) -> Iterator[str]:
    for key, path in named_weights(config):
        try:
            weights_file(Path(path), key)
        except InitError as error:
            yield f"{error}{ELSEWHERE}"
