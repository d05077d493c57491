"""The weights a model begins with: from the hub, from a file under any of three namings, from a trial of ours.

Position tables and windows' bias tables of another grid are resampled; a classifier of other classes is left out. What
was and was not loaded is said in the log.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import timm
import torch
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from dynvit.checkpoint.load import LoadReport, load_official, load_trunk
from dynvit.trunks import trunk_of

if TYPE_CHECKING:
    from dynvit.context import Context

OFFICIAL = "official "
KEPT = ("best.safetensors", "last.safetensors", "ckpt/last.pt")
"""What is sought in a folder, the first that is there."""


class InitError(ValueError):
    """Weights that are not there, or are of another model."""


def begin(model: nn.Module, init: str, name: str, context: Context) -> None:
    """Load what `init` says into the model; `name` is the model's in timm."""
    if not init:
        return
    if init == "timm":
        state, source = from_hub(name)
        report = fit(model, state)
    elif init.startswith(OFFICIAL):
        source = init.removeprefix(OFFICIAL).strip()
        load_official(model, read(Path(source)))
        report = LoadReport(tuple(model.state_dict()), (), ())
    else:
        source = init
        report = fit(model, read(Path(init)))
    context.say(f"init {source}: {report}")


def from_hub(name: str) -> tuple[dict[str, Tensor], str]:
    """The published weights of a timm model, or of the trunk that a method is built on."""
    trunk = trunk_of({"name": name})
    source = str(trunk["name"]) if trunk else name
    try:
        return timm.create_model(source, pretrained=True).state_dict(), source
    except Exception as error:  # the hub's client and timm have many
        raise InitError(
            f"init: timm: no weights of {source} ({type(error).__name__}: {error}). Without a network give a file: "
            f"init: FILE, saved elsewhere from timm.create_model('{source}', pretrained=True).state_dict()"
        ) from error


def read(place: Path) -> dict[str, Any]:
    """A state dict from safetensors, a weights-only pickle, or what a trial has left in its folder."""
    place = place.expanduser()
    if place.is_dir():
        found = next((place / name for name in KEPT if (place / name).is_file()), None)
        if found is None:
            raise InitError(
                f"init: {place} holds none of {', '.join(KEPT)}; a trial leaves them with keep_checkpoint: true"
            )
        place = found
    if not place.is_file():
        raise InitError(f"init: no file {place}")
    if place.suffix == ".safetensors":
        from safetensors.torch import load_file

        return dict(load_file(place))
    state = torch.load(place, map_location="cpu", weights_only=True)
    for key in ("model", "state_dict"):
        if isinstance(state.get(key), Mapping):
            return dict(state[key])
    return dict(state)


def fit(model: nn.Module, state: Mapping[str, Tensor]) -> LoadReport:
    """The model's own names, or those of its trunk: what carries more of the model's tensors."""
    own, state = model.state_dict(), _resampled(state, model)
    ours = {name: tensor for name, tensor in state.items() if name in own}
    if len(ours) < len(own) and hasattr(model, "convert_trunk"):
        return load_trunk(model, _without_other_classes(state, model))
    if not ours:
        raise InitError(f"init: not one of {len(state)} tensors is known to {type(model).__name__}: {_some(state)}")
    return _copied(model, state, "init")


def hand_over(model: nn.Module, state: Mapping[str, Tensor]) -> LoadReport:
    """From the same model after training on other data: all but the classifiers, which stay as they were made."""
    made = heads(model)
    kept = {name: tensor for name, tensor in state.items() if not name.startswith(made)}
    return _copied(model, _resampled(kept, model), "source")


def heads(model: nn.Module) -> tuple[str, ...]:
    """What the names of the tensors of its classifiers begin with; a distilled model has two."""
    told = getattr(model, "classifier_names", None)
    if told is None:
        cfg = (getattr(model, "pretrained_cfg", None) or {}).get("classifier", "head")
        told = (cfg,) if isinstance(cfg, str) else tuple(cfg)
    return tuple(f"{name}." for name, _ in model.named_modules() if name in told)


@torch.no_grad()
def _copied(model: nn.Module, state: Mapping[str, Tensor], what: str) -> LoadReport:
    """InitError for a tensor of another size that is not a classifier's."""
    own, made = model.state_dict(), heads(model)
    ours = {name: tensor for name, tensor in state.items() if name in own}
    usable = {name: tensor for name, tensor in ours.items() if own[name].shape == tensor.shape}
    wrong = [name for name in ours if name not in usable and not name.startswith(made)]
    if wrong:
        shapes = "; ".join(f"{n}: {tuple(ours[n].shape)}, ours {tuple(own[n].shape)}" for n in wrong[:6])
        raise InitError(f"{what}: weights of another size: {shapes}")
    for name, tensor in usable.items():
        own[name].copy_(tensor)
    unused = tuple(name for name in state if name not in usable)
    return LoadReport(tuple(usable), tuple(name for name in own if name not in usable), unused)


def _without_other_classes(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """A trunk's classifier over other classes would be left out anyway, wherever a method puts it."""
    classes = int(getattr(model, "num_classes", 0))
    heads = {n for n, t in state.items() if n.split(".")[0] in ("head", "head_dist", "aux_head", "fc")}
    return {n: t for n, t in state.items() if n not in heads or len(t) == classes}


def _resampled(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The state with its tables on the model's grid; timm's own models know how to do theirs."""
    filtered = dict(state)
    theirs = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if theirs is not None and type(model).__module__.startswith("timm."):
        filtered = dict(theirs(filtered, model))
    own = model.state_dict()
    for name, table in filtered.items():
        if name in own and "pos" in name.rsplit(".", 1)[-1] and own[name].shape != table.shape:
            filtered[name] = _on_grid(table, own[name])
    return filtered


def _on_grid(table: Tensor, own: Tensor) -> Tensor:
    """A square table ``[1, prefix + side**2, C]`` on another square grid with as many tokens before it."""
    if table.ndim != 3 or table.shape[::2] != own.shape[::2]:
        return table
    for prefix in (1, 0, 2):
        sides = [math.isqrt(n - prefix) for n in (table.shape[1], own.shape[1])]
        if all(side**2 + prefix == t.shape[1] for side, t in zip(sides, (table, own), strict=True)):
            return resample_abs_pos_embed(table, [sides[1]] * 2, [sides[0]] * 2, num_prefix_tokens=prefix)
    return table


def _some(state: Mapping[str, Tensor]) -> str:
    names = list(state)
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
