"""Loading of official checkpoints and of trunk weights into our models, strictly and with a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class LoadReport:
    """Names of our parameters that were loaded, that kept their initialisation, and unused keys of the source."""

    loaded: tuple[str, ...]
    kept: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        def some(names: tuple[str, ...]) -> str:
            return ", ".join(names[:4]) + (f", ... ({len(names)})" if len(names) > 4 else "") if names else "none"

        return (
            f"loaded {len(self.loaded)} tensors; kept at initialisation: {some(self.kept)}; "
            f"unused in the source: {some(self.unused)}"
        )


def load_official(model: nn.Module, state_dict: Mapping[str, Any]) -> nn.Module:
    """Load a state dict with the official repository's key names, also wrapped in ``{"model": ...}``.

    Works at the dtype the model has. Raises ValueError listing missing, unexpected and mis-shaped keys.
    The mapping of names is the model's ``convert_official(state_dict) -> state_dict`` method.
    """
    if not hasattr(model, "convert_official"):
        raise ValueError(f"{type(model).__name__} has no official checkpoint format")
    strict_load(model, model.convert_official(_unwrap(state_dict)))
    return model


def load_trunk(model: nn.Module, state_dict: Mapping[str, Any]) -> LoadReport:
    """Initialise a method from its timm trunk's state dict; what the method adds keeps its initialisation.

    The mapping of names is the model's ``convert_trunk(state_dict) -> state_dict`` method. A classifier of
    another class count is left out and reported; any other mis-shaped tensor raises ValueError, as does a state dict
    of which nothing fits.
    """
    if not hasattr(model, "convert_trunk"):
        raise ValueError(f"{type(model).__name__} is not built on a timm trunk")
    given = _unwrap(state_dict)
    try:
        source = model.convert_trunk(given)
    except (RuntimeError, KeyError) as error:  # a table or a layer of another shape than any trunk has
        raise ValueError(f"weights of another kind than {type(model).__name__}'s trunk: {error}") from error
    own = model.state_dict()
    heads = tuple(getattr(model, "classifier_names", ("head",)))
    usable, wrong, unused = {}, [], []
    for name, tensor in source.items():
        if name not in own:
            unused.append(name)
        elif own[name].shape != tensor.shape:
            (unused if name.split(".")[0] in heads else wrong).append(name)
        else:
            usable[name] = tensor
    if wrong:
        shapes = "; ".join(f"{n}: {tuple(source[n].shape)}, ours {tuple(own[n].shape)}" for n in wrong[:6])
        raise ValueError(f"trunk weights of another size: {shapes}")
    if not usable:
        some = ", ".join([*given][:4])
        raise ValueError(f"not one of {len(given)} tensors is known to {type(model).__name__} or its trunk: {some}")
    _copy(model, usable)
    return LoadReport(tuple(usable), tuple(n for n in own if n not in usable), tuple(unused))


def strict_load(model: nn.Module, state_dict: Mapping[str, Tensor]) -> None:
    """Copy tensors by name; ValueError lists every missing, unexpected and mis-shaped key."""
    own = model.state_dict()
    problems = []
    missing = [n for n in own if n not in state_dict]
    unexpected = [n for n in state_dict if n not in own]
    shapes = [
        f"{n} {tuple(state_dict[n].shape)}, ours {tuple(own[n].shape)}"
        for n in own
        if n in state_dict and state_dict[n].shape != own[n].shape
    ]
    for what, names in (("missing", missing), ("unexpected", unexpected), ("wrong shape", shapes)):
        if names:
            more = f" and {len(names) - 8} more" if len(names) > 8 else ""
            problems.append(f"{what}: {', '.join(names[:8])}{more}")
    if problems:
        raise ValueError(f"checkpoint does not fit {type(model).__name__}; " + "; ".join(problems))
    _copy(model, state_dict)


def _unwrap(state_dict: Mapping[str, Any]) -> Mapping[str, Tensor]:
    for key in ("model", "state_dict"):
        if isinstance(state_dict.get(key), Mapping):
            return state_dict[key]  # type: ignore[no-any-return]
    return state_dict


@torch.no_grad()
def _copy(model: nn.Module, state_dict: Mapping[str, Tensor]) -> None:
    own = model.state_dict()  # shares storage with the model, so copy_ keeps its dtype and device
    for name, tensor in state_dict.items():
        own[name].copy_(tensor)
