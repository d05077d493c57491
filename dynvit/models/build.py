"""Any timm model by name, ours or timm's own, at the size that is asked for, with a token reducer or without."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from functools import cache, partial
from typing import Any

import timm
from torch import nn

from dynvit.config.extensions import VERSION
from dynvit.reducers import reduce
from dynvit.reduction.reducer import REDUCERS
from dynvit.reduction.target_cost import check_reach, rate_name, reach
from dynvit.registry import MODELS

FROM_TIMM = ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")
"""What `timm.create_model` hands to every entry point."""


def build_reduced(options: Mapping[str, Any], reducer: Mapping[str, Any], **defaults: Any) -> nn.Module:
    """Build a model as `build_model` does and apply the token reducer ``reducer["name"]``, if there is one.

    Raises ValueError or TypeError as `dynvit.reduce` does, too.
    """
    model = build_model(options, **defaults)
    if not reducer.get("name"):
        return model
    method, changed = reducer["name"], _changed(reducer)
    target = changed.pop("target_gmacs", None)
    if target is None or method not in REDUCERS:
        return reduce(model, method, **changed)
    description = json.dumps([options, method, target, changed, defaults], sort_keys=True)
    rate = rate_name(REDUCERS[method], changed)
    found = _RATES.get((description, VERSION.number))
    if found is None:
        reduced = reduce(model, method, target_gmacs=target, **changed)
        _RATES[description, VERSION.number] = getattr(reduced.reducer, rate)
        return reduced
    return reduce(model, method, **changed, **{rate: found})


_RATES: dict[tuple[str, int], Any] = {}
"""What targets came to, by all that describes a model and by the version of own code: seeds share a search."""


def check_reduced(options: Mapping[str, Any], reducer: Mapping[str, Any], **defaults: Any) -> None:
    """Raise as `build_reduced` would, without searching the rate of a target."""
    target = reducer.get("target_gmacs")
    if target is None or reducer.get("name") not in REDUCERS:
        build_reduced(options, reducer, **defaults)
        return
    others = {key: value for key, value in _changed(reducer).items() if key != "target_gmacs"}
    cls = REDUCERS[reducer["name"]]
    found = _reach(json.dumps([options, cls.name, others, defaults], sort_keys=True), VERSION.number)
    check_reach(cls, rate_name(cls, others), target, found)


@cache
def _reach(arguments: str, version: int) -> tuple[float, float]:
    """What a method can make of a model; the targets of a study share it. version: of own code."""
    options, method, others, defaults = json.loads(arguments)
    model = build_model(options, **defaults)
    reduce(model, method, **others)
    return reach(model, REDUCERS[method], others, partial(reduce, method=method))


def _changed(reducer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are not at their defaults: a config holds all, and `target_gmacs` stands for a rate."""
    known = fields(REDUCERS[reducer["name"]]) if reducer["name"] in REDUCERS else ()
    defaults = {"name": reducer["name"], "target_gmacs": None, **{field.name: field.default for field in known}}
    return {key: value for key, value in reducer.items() if key not in defaults or value != defaults[key]}


def build_model(options: Mapping[str, Any], **defaults: Any) -> nn.Module:
    """Build the timm model ``options["name"]`` with the other options; these override `defaults`.

    A default `img_size` that the model does not take (TinyViT, convolutional networks) is left out: such a model
    accepts images of any size.

    Raises:
        ValueError: no name, or one of no model.
        TypeError: an option that the model does not take.
    """
    options = dict(options)
    name = options.pop("name", None)
    if not name:
        raise ValueError("model needs a name, such as {name: vit_tiny_patch16_224}")
    if ":" not in name and not timm.is_model(name):  # not one of a hub
        near = get_close_matches(name, timm.list_models(), n=1)
        raise ValueError(f"no model {name}" + (f", did you mean {near[0]!r}?" if near else ""))
    if is_own(name):
        return _build_own(name, options, defaults)
    try:
        return timm.create_model(name, **{**defaults, **options})
    except TypeError as error:
        if "img_size" in options or "img_size" not in defaults or "'img_size'" not in str(error):
            raise
        return timm.create_model(name, **{**{key: defaults[key] for key in defaults if key != "img_size"}, **options})


def is_own(name: str) -> bool:
    """Whether own code has registered the model with timm, not with `dynvit.register`."""
    if name in MODELS or not timm.is_model(name):
        return False
    return timm.model_entrypoint(name).__module__.split(".")[0] not in ("timm", "dynvit")


def _build_own(name: str, options: Mapping[str, Any], defaults: Mapping[str, Any]) -> nn.Module:
    """Call an own entry point with the options that follow from the data, as far as it takes them.

    timm's own arguments are for functions that end in timm's `build_model_with_cfg`; any other refuses them.
    """
    given = {**dict.fromkeys(FROM_TIMM), "pretrained": False, **defaults, **options}
    while True:
        try:
            model = timm.model_entrypoint(name)(**given)
            break
        except TypeError as error:
            refused = re.search(r"unexpected keyword argument '(\w+)'", str(error))
            key = refused[1] if refused else ""
            if key not in given or key in options:
                raise
            if key not in FROM_TIMM and (text := _needed(key, defaults)):
                raise TypeError(f"{name} must take {text}") from error
            del given[key]
    if not isinstance(model, nn.Module):
        raise TypeError(f"{name} returns {type(model).__name__}, not a model (torch.nn.Module)")
    return model


def _needed(key: str, defaults: Mapping[str, Any]) -> str:
    """Return what a model that refuses an option must accept, and why; empty where it may do without."""
    if key == "num_classes":
        return "num_classes: how many classes the data has"
    if key == "in_chans" and defaults[key] != 3:
        return f"in_chans: the images have {defaults[key]} channel"
    return f"{key}: it was asked for" if key == "drop_path_rate" else ""
