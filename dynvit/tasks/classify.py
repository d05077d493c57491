"""Task `classify`: train one image classifier and measure it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dynvit.checkpoint.load import InitSpec, load_initial_weights
from dynvit.config.classify import Config
from dynvit.config.data import Augment, Data
from dynvit.config.evaluation import Evaluation
from dynvit.config.source import Source
from dynvit.config.teacher import Teacher
from dynvit.config.train import Mix, Train
from dynvit.config.workload import work
from dynvit.context import Context
from dynvit.data.inspect import inspect_data
from dynvit.profiling.training_cost import profile_training
from dynvit.train import transfer
from dynvit.train.loop import fit
from dynvit.train.result import measure
from dynvit.train.session import training_session
from dynvit.train.state import Clock, build, build_state
from dynvit.train.warnings import config_warnings as cautions
from dynvit.train.warnings import log_warnings
from dynvit.train.warnings import missing_files as missing

REVISION = 1
"""Increased when the same config would give other numbers; part of every trial's identity."""

SMOKE: dict[str, Any] = {"train.epochs": 1, "train.warmup_epochs": 0, "data.limit": 512, "data.val_limit": 256}
"""What `--smoke` sets."""

SCORES = ("loss", "top1", "top5", "epoch")
CURVES = (
    "train.loss", "train.top1", "train.images_per_second", "loss.*", "val.loss", "val.top1", "val.top5",
    "choose.loss", "choose.top1", "choose.top5", "lr",
    "active.mean", "active.layer[0-9][0-9]*", "images_per_second", "corrupt_images",
)  # fmt: skip
METRICS: dict[str, tuple[str, ...]] = {
    "result": (
        "gflops", "params_m", "images_per_second", "mean_depth", "active_share", "source_top1", "corrupt_images",
        "fluctuation", "detrended_fluctuation", "generalization_gap", "isolated_pauses", "pause_flips",
        "depth_spread_within", "depth_spread_between",
        "mac_ratio", "trunk_gflops", "speedup", "speedup_low", "speedup_high", "share",
    ),
    "best": SCORES,
    "last": SCORES,
    "events": (*CURVES, *(f"source.{key}" for key in CURVES)),
}  # fmt: skip
"""What a trial has, by place: names with ``*`` as in file names. A study's `metrics` are checked against it."""
HEADLINE: dict[str, dict[str, str]] = {
    "top1": {"from": "last", "direction": "max", "unit": "%"},
    "gflops": {"direction": "min"},
    "params_m": {"direction": "min"},
    "images_per_second": {"direction": "max"},
}
"""The metrics of a study that names none, as it would name them."""


def smoke(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `--smoke` sets in addition, if the config trains on a source, or does not train."""
    few = {"source.epochs": 1, "source.data.limit": 512, "source.data.val_limit": 256}
    return (few if config["source"]["epochs"] else {}) | ({} if config["train"]["epochs"] else {"train.epochs": 0})


def inspect(config: Config) -> list[tuple[str, str, str]]:
    """Return (fine, note or attention; what was found; what to do) of the data set, for `studies doctor --data`."""
    return list(inspect_data(config.data, config.train.batch_size))


def weigh(options: Mapping[str, Any], size: int, channels: int, classes: int) -> dict[str, float]:
    """Return what one training step of a model takes, profiled on this machine; see `profile_training`."""
    return profile_training(options, size, channels, classes)


def run(config: Config, context: Context) -> dict[str, Any]:
    """Train, evaluate after every epoch, measure at the end. Raises ``Stopped`` after saving when asked to stop."""
    if config.source.epochs:
        return transfer.run(config, context)
    clock = Clock()
    with training_session(config.train, context) as group:
        model, data = build(config, context)
        init, trained = InitSpec.parse(config.init), config.train.epochs > 0
        load_initial_weights(model, init, config.model["name"], context.log_text, trained)
        state = build_state(model, data, config, context, group, clock)
        log_warnings(config, data, context)
        fit(state, data, config, context, group)
        return measure(state, data, config, context, group)


__all__ = [
    "HEADLINE", "METRICS", "REVISION", "SMOKE", "Augment", "Config", "Data", "Evaluation", "Mix", "Source", "Teacher",
    "Train", "cautions", "inspect", "missing", "run", "smoke", "weigh", "work",
]  # fmt: skip
