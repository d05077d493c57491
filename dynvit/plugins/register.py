"""Decorators with which own code registers data sets, losses, metrics and token reducers.

The keyword arguments of what is registered are its options in study files, with types and defaults; ``name: text``
lines of its docstring describe them. They are checked as ours are.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Literal, TypeVar

from dynvit.config.data import BUILT_IN, Data
from dynvit.config.extensions import DATA_SETS, LOSSES, METRICS, DataSet, Loss, Metric, add, check_called

Function = TypeVar("Function", bound=Callable[..., Any])

TO_DATA_SETS = ("root", "image_size")
"""Options of every data set that the function is given if it takes them."""


def register_dataset(
    name: str, *, channels: Literal[1, 3] = 3, classes: int | None = None
) -> Callable[[Function], Function]:
    """Register a function that returns training and validation images: ``data: {name: leaves, root: ~/leaves}``.

    ::

        @dynvit.register_dataset("leaves", classes=5)
        def leaves(root: str, view: str = "front"):
            train, val = read(root, view)       # each: images and their labels
            return train, val                   # or train, val, names of the classes

    Each split is a tuple ``(images, labels)``, or a sequence of ``(image, label)``, such as a torch Dataset. An image
    is one of PIL, an array ``uint8[H, W, C]`` or ``[H, W]``, a tensor ``uint8[C, H, W]``, or a file's path; a label is
    the number or the name of a class. An argument `root` is given the folder of `data.root` (or $DYNVIT_DATA/<name>),
    `image_size` the side in pixels. Every option of `data` applies: limit, labels, augment, in_memory ...

    channels: 1 for gray images; 3: colors, to which all are converted. classes: their number, if it is always the same.
    """
    check_called("register_dataset", name)

    def register(function: Function) -> Function:
        given = [key for key in TO_DATA_SETS if key in inspect.signature(function).parameters]
        extension = DataSet("data set", name, function, tuple(given), channels, classes)
        everywhere = {field.name for field in fields(Data)}
        if taken := [key for key in extension.options if key in everywhere]:
            raise ValueError(
                f"the data set {name} cannot have an option {taken[0]}: all data sets have one of that name"
            )
        if isinstance(channels, bool) or channels not in (1, 3):
            raise ValueError(f"the data set {name} has channels 1 (gray) or 3 (colors), not {channels!r}")
        if classes is not None and (isinstance(classes, bool) or not isinstance(classes, int) or classes < 1):
            raise ValueError(f"the data set {name} has classes, a whole number from 1, not {classes!r}")
        add(DATA_SETS, extension, BUILT_IN)
        return function

    return register


def register_loss(name: str) -> Callable[[Function], Function]:
    """Register the loss of labels, in the place of cross entropy: ``loss: {name: poly1, epsilon: 2.0}``.

    ::

        @dynvit.register_loss("poly1")
        def poly1(logits, target, epsilon: float = 1.0):
            each = F.cross_entropy(logits, target, reduction="none")
            return (each + epsilon * (1 - (-each).exp())).mean()

    A function of logits ``[B, K]`` and target that returns a scalar; or a class of ``nn.Module``, or a function without
    those two arguments, which is called with the options and returns what is called with logits and target.
    target: classes ``int64[B]``; probabilities ``[B, K]`` with mixup, cutmix or label smoothing.
    """
    check_called("register_loss", name)

    def register(function: Function) -> Function:
        first = [p for p in inspect.signature(function).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD][:2]
        direct = not isinstance(function, type) and len(first) == 2 and all(p.default is p.empty for p in first)
        given = tuple(p.name for p in first) if direct else ()
        add(LOSSES, Loss("loss", name, function, given, factory=not direct))
        return function

    return register


def register_metric(
    name: str, *, direction: Literal["max", "min"] = "max", unit: str = ""
) -> Callable[[Function], Function]:
    """Register a number that is computed in every evaluation: ``metrics: {balanced_accuracy: {from: best}}``.

    ::

        @dynvit.register_metric("balanced_accuracy", unit="%")
        def balanced_accuracy(logits, targets):
            hit = (logits.argmax(1) == targets).float()
            return 100 * torch.stack([hit[targets == k].mean() for k in targets.unique()]).mean()

    A function of all validation logits ``float32[N, K]`` and classes ``int64[N]``, on the CPU and in the set's order.
    direction: which values are better. unit: such as ``"%"``.
    """
    check_called("register_metric", name)

    def register(function: Function) -> Function:
        given = tuple(inspect.signature(function).parameters)[:2]
        metric = Metric("metric", name, function, given, direction, unit)
        if direction not in ("max", "min"):
            raise ValueError(f"the metric {name} has direction max or min, not {direction!r}")
        if len(given) < 2 or any(p.default is p.empty for p in metric.options.values()):
            raise ValueError(f"the metric {name} is a function of two arguments, logits and targets")
        add(METRICS, metric, OWN_SCORES)
        return function

    return register


OWN_SCORES = (
    "loss", "top1", "top5", "epoch", "gflops", "params", "params_m", "images_per_second", "seconds", "gpu_hours",
    "peak_memory_mb", "mean_depth", "active_share", "source_top1", "corrupt_images", "fluctuation",
    "detrended_fluctuation", "generalization_gap", "isolated_pauses", "pause_flips", "depth_spread_within",
    "depth_spread_between", "mac_ratio", "trunk_gflops", "speedup", "speedup_low", "speedup_high", "share",
)  # fmt: skip
"""What evaluations and trials have: another number of that name would be printed as ours."""
