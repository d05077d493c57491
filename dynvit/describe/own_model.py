"""Models and reducers of own code at plan: tried with a batch of the data's size, and blamed by file and line."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from dynvit.describe.skip_init import SkipInit
from dynvit.models.build import build_reduced, check_reduced
from dynvit.output import Output
from dynvit.plugins.modules import blame
from dynvit.reduction.reducer import REDUCERS
from dynvit.registry import MODELS

IMAGES = 2
"""Images of the batch that a model is tried with."""
HEAVY = 50_000_000 * 224**2
"""Parameters times pixels from which a forward pass on the CPU would hold up the plan."""
OTHERS = ("timm", "dynvit", "torch")


def is_own(name: str | None) -> bool:
    """Whether own code has registered the model: with timm, or with `dynvit.register`."""
    return bool(name) and timm.is_model(name) and _package(timm.model_entrypoint(name)) not in OTHERS


def is_own_reducer(name: str | None) -> bool:
    """Whether own code has registered the token reducer."""
    return name in REDUCERS and _package(REDUCERS[name]) not in OTHERS


def own_fault(options: Mapping[str, Any], given: Mapping[str, Any], reducer: Mapping[str, Any]) -> str:
    """Return why an own model cannot be built or does not return logits; empty if it does, or where it is not known.

    given: what follows from the data. reducer: where it has a name, it is an own one, and tried on any model; where a
    target chooses its rate, with the default rate. The forward pass is tried on the CPU: the meta device lets many
    mistakes pass. A heavy model is tried there all the same.
    """
    tried, fault = _tried(options, reducer), ""
    for device in ("meta", "cpu"):
        heavy = False
        try:
            with torch.device(device), SkipInit():
                if reducer.get("target_gmacs") is not None:
                    check_reduced(options, reducer, **given)
                model = build_reduced(options, {**reducer, "target_gmacs": None}, **given)
                heavy = is_heavy(model, given)
                if heavy == (device == "meta"):
                    _try_forward(tried, model, given)
        except Exception as error:
            fault = "" if heavy and "meta" in str(error).lower() else tried.blame(error)
        else:
            fault = ""
        if heavy:
            break
    return fault


def is_heavy(model: nn.Module, given: Mapping[str, Any]) -> bool:
    height, width = sides(given.get("img_size", 224))
    return sum(p.numel() for p in model.parameters()) * height * width > HEAVY


def sides(size: int | list[int]) -> tuple[int, int]:
    height, width = size if isinstance(size, list | tuple) else (size, size)
    return height, width


@dataclass(frozen=True)
class _Tried:
    """A model or a reducer, and the functions of own code that make it."""

    name: str
    functions: tuple[Any, ...]

    def blame(self, error: BaseException) -> str:
        """Return the error, after the line of the user's file in which it arose, if it arose there."""
        text, kind = blame(self.functions[0] if self.functions else None, error), type(error).__name__
        return text if not text.startswith(f"{kind}: ") else str(error) or kind

    def place(self, model: nn.Module) -> str:
        """Return where the forward pass is defined, if that is own code's, or else what makes the model."""
        functions = [f for f in (type(model).forward, *self.functions) if _package(f) not in OTHERS]
        code = getattr(inspect.unwrap(functions[0]), "__code__", None) if functions else None
        return f": {Path(code.co_filename).name}, line {code.co_firstlineno}" if code is not None else ""


def _tried(options: Mapping[str, Any], reducer: Mapping[str, Any]) -> _Tried:
    if reducer.get("name"):
        name, classes = f"the reducer {reducer['name']}", REDUCERS[reducer["name"]].__mro__
    else:
        name, classes = options["name"], MODELS[options["name"]][0].__mro__[:1] if options["name"] in MODELS else ()
    functions = [f for cls in classes for f in vars(cls).values() if inspect.isfunction(f)]
    if not classes:
        functions = [timm.model_entrypoint(name)]
    return _Tried(name, tuple(f for f in functions if _package(f) not in OTHERS and _has_file(f)))


def _has_file(function: Any) -> bool:
    """Return whether a person wrote it, and not `dataclass`."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return code is None or not code.co_filename.startswith("<")


def _try_forward(tried: _Tried, model: nn.Module, given: Mapping[str, Any]) -> None:
    """Raise ValueError, which names the user's file and line, for a model that fails or does not return logits.

    Without `img_size` nothing is tried: no size is known to be right. The images are made on the default device.
    """
    if "img_size" not in given:
        return
    images = torch.rand(IMAGES, given.get("in_chans", 3), *sides(given["img_size"]))
    with torch.no_grad():
        try:
            output = model.eval()(images)
        except Exception as error:
            raise ValueError(f"{tried.name} fails for images {list(images.shape)}: {tried.blame(error)}") from error
        _check_logits(tried, model, output, given.get("num_classes"))
        try:
            trained = model.train()(images)
        except Exception:  # may want what a training sets before, such as its schedule
            return
    if isinstance(trained, Output):
        trained = trained.logits
    pair = trained if isinstance(trained, tuple) and len(trained) == 2 else (trained,)  # timm's distilled models
    for output in pair:
        _check_logits(tried, model, output, given.get("num_classes"), " in training")


def _check_logits(tried: _Tried, model: nn.Module, output: Any, classes: int | None, when: str = "") -> None:
    """Raise ValueError for anything but a tensor ``[IMAGES, classes]``; classes: None where the model chooses."""
    shape = list(output.shape) if isinstance(output, Tensor) else None
    if shape is not None and len(shape) == 2 and shape[0] == IMAGES and classes in (None, shape[1]):
        return
    where = tried.place(model)
    if shape is not None and len(shape) == 2 and shape[0] == IMAGES:
        raise ValueError(f"{tried.name} returns {shape[1]} logits{when} for {classes} classes{where}")
    found = type(output).__name__ if shape is None else f"a tensor {shape}"
    raise ValueError(
        f"{tried.name} returns {found}{when} for {IMAGES} images, not logits [{IMAGES}, {classes or 'K'}]{where}"
    )


def _package(thing: Any) -> str:
    return str(thing.__module__).split(".")[0]
