"""Models of own code at plan: tried with a batch of the data's size, and blamed by the user's file and line."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from dynvit.describe.skip_init import SkipInit
from dynvit.models.build import build_model
from dynvit.output import Output
from dynvit.plugins.modules import blame
from dynvit.registry import MODELS

IMAGES = 2
"""Images of the batch that a model is tried with."""
HEAVY = 50_000_000 * 224**2
"""Parameters times pixels from which a forward pass on the CPU would hold up the plan."""
OTHERS = ("timm", "dynvit", "torch")


def is_own(name: str | None) -> bool:
    """Whether own code has registered the model: with timm, or with `dynvit.register`."""
    return bool(name) and timm.is_model(name) and _package(timm.model_entrypoint(name)) not in OTHERS


def own_fault(options: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """Return why an own model cannot be built or does not return logits; empty if it does, or where it is not known.

    given: what follows from the data. Its forward pass is tried on the CPU: the meta device lets many mistakes pass.
    A heavy model is tried there all the same.
    """
    name, fault = options["name"], ""
    for device in ("meta", "cpu"):
        heavy = False
        try:
            with torch.device(device), SkipInit():
                model = build_model(options, **given)
                heavy = _is_heavy(model, given)
                if heavy == (device == "meta"):
                    try_forward(name, model, given)
        except Exception as error:
            fault = "" if heavy and "meta" in str(error).lower() else told(name, error)
        else:
            fault = ""
        if heavy:
            break
    return fault


def _is_heavy(model: nn.Module, given: Mapping[str, Any]) -> bool:
    height, width = _sides(given.get("img_size", 224))
    return sum(p.numel() for p in model.parameters()) * height * width > HEAVY


def _sides(size: int | list[int]) -> tuple[int, int]:
    height, width = size if isinstance(size, list | tuple) else (size, size)
    return height, width


def try_forward(name: str, model: nn.Module, given: Mapping[str, Any]) -> None:
    """Raise ValueError, which names the user's file and line, for a model that fails or does not return logits.

    Without `img_size` nothing is tried: no size is known to be right. The images are made on the default device.
    """
    if "img_size" not in given:
        return
    images = torch.rand(IMAGES, given.get("in_chans", 3), *_sides(given["img_size"]))
    with torch.no_grad():
        try:
            output = model.eval()(images)
        except Exception as error:
            raise ValueError(f"{name} fails for images {list(images.shape)}: {told(name, error)}") from error
        _check_logits(name, model, output, given.get("num_classes"))
        try:
            trained = model.train()(images)
        except Exception:  # may want what a training sets before, such as its schedule
            return
    if isinstance(trained, Output):
        trained = trained.logits
    pair = trained if isinstance(trained, tuple) and len(trained) == 2 else (trained,)  # timm's distilled models
    for output in pair:
        _check_logits(name, model, output, given.get("num_classes"), " in training")


def _check_logits(name: str, model: nn.Module, output: Any, classes: int | None, when: str = "") -> None:
    """Raise ValueError for anything but a tensor ``[IMAGES, classes]``; classes: None where the model chooses."""
    shape = list(output.shape) if isinstance(output, Tensor) else None
    if shape is not None and len(shape) == 2 and shape[0] == IMAGES and classes in (None, shape[1]):
        return
    where = _place(_function(name, model))
    if shape is not None and len(shape) == 2 and shape[0] == IMAGES:
        raise ValueError(f"{name} returns {shape[1]} logits{when} for {classes} classes{where}")
    found = type(output).__name__ if shape is None else f"a tensor {shape}"
    raise ValueError(
        f"{name} returns {found}{when} for {IMAGES} images, not logits [{IMAGES}, {classes or 'K'}]{where}"
    )


def told(name: str, error: BaseException) -> str:
    """Return the error of an own model, after the line of the user's file in which it arose, if it arose there."""
    text, kind = blame(_function(name), error), type(error).__name__
    return text if not text.startswith(f"{kind}: ") else str(error) or kind


def _function(name: str, model: nn.Module | None = None) -> Any:
    """Return a function of own code that makes the model, or its forward pass, if that is own code's; None: neither."""
    if name in MODELS:
        candidates = [f for f in vars(MODELS[name][0]).values() if inspect.isfunction(f)]
    else:
        candidates = [timm.model_entrypoint(name)]
    if model is not None:
        candidates.insert(0, type(model).forward)
    return next((function for function in candidates if _package(function) not in OTHERS), None)


def _package(function: Any) -> str:
    return str(function.__module__).split(".")[0]


def _place(function: Any) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f": {Path(code.co_filename).name}, line {code.co_firstlineno}" if code is not None else ""
