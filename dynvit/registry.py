"""Registration of our models with timm: one table of variants per method, clear errors for options."""

from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any, get_type_hints

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import is_model, register_model
from timm.models._features import FeatureGetterNet
from torch import nn

from dynvit.config.extensions import VERSION, place_of
from dynvit.interface import interface_of

MODELS: dict[str, tuple[type[nn.Module], dict[str, Any]]] = {}

# What timm.create_model hands to every entry point besides the user's options.
_FROM_TIMM = ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")
_OF_FEATURES = ("out_indices", "output_fmt")  # go with features_only


def register(cls: type[nn.Module], variants: dict[str, dict[str, Any]]) -> type[nn.Module]:
    """Register every variant of a model class with timm and return the class.

    variants: name -> keyword arguments of ``cls`` that define it; the user's options override them.

    ::

        class MyNet(nn.Module):
            def __init__(self, width: int = 32, num_classes: int = 1000, in_chans: int = 3): ...

        dynvit.register(MyNet, {"mynet_tiny": {"width": 64}, "mynet_small": {"width": 128}})
    """
    if not isinstance(variants, Mapping) or not all(isinstance(preset, Mapping) for preset in variants.values()):
        raise ValueError(f'variants are names with their options, such as {{"mynet_tiny": {{}}}}, not {variants!r}')
    module = sys.modules[cls.__module__]
    for name, preset in variants.items():
        _check_name(cls, name)
        if module.__name__.split(".")[0] != "dynvit":  # ours are tested, and many
            withheld = getattr(cls, "withheld_options", ())
            check_options(cls, name, {key: value for key, value in preset.items() if key not in withheld})
        MODELS[name] = (cls, preset)
        register_model(_entry_point(cls, name, preset, module.__name__))
    VERSION.number += 1
    return cls


def _check_name(cls: type[nn.Module], name: str) -> None:
    """Raise ValueError for the name of another model: ours, timm's, or of own code."""
    if name in MODELS:
        before = MODELS[name][0]
        if place_of(before) != place_of(cls):
            raise ValueError(f"there is a model {name} already, of {place_of(before)}: choose another name")
    elif is_model(name):
        raise ValueError(f"there is a model {name} already, of timm: choose another name")


def registered() -> dict[str, tuple[type[nn.Module], dict[str, Any]]]:
    """Return class and preset of every model that was registered here, by name."""
    return dict(MODELS)


def _entry_point(cls: type[nn.Module], name: str, preset: dict[str, Any], module: str) -> Any:
    def create(pretrained: bool = False, **options: Any) -> nn.Module:
        if pretrained:
            raise ValueError(f"{name} has no published weights to download; use dynvit.load_official or load_trunk")
        for key in _FROM_TIMM:
            options.pop(key, None)
        pyramid = options.pop("features_only", False)
        features = {key: options.pop(key) for key in _OF_FEATURES if key in options}
        check_options(cls, name, options if pyramid else {**options, **features})
        model = cls(**_grouped(cls, {**preset, **options}))
        model.default_cfg = model.pretrained_cfg = _default_cfg(name, model)
        return _features(model, name, features) if pyramid else model

    create.__name__ = create.__qualname__ = name
    create.__module__ = module
    create.__doc__ = f"{name}: {cls.__doc__}"
    return create


def _features(model: nn.Module, name: str, options: dict[str, Any]) -> nn.Module:
    """Wrap a pyramid so that it returns the maps of its stages (timm's ``features_only=True``)."""
    if not interface_of(model).has_intermediates:
        raise ValueError(f"{name} has no feature pyramid")
    options.setdefault("out_indices", tuple(range(len(model.feature_info))))
    pyramid = FeatureGetterNet(model, **options)
    pyramid.default_cfg = pyramid.pretrained_cfg = model.default_cfg
    return pyramid


def model_options(cls: type[nn.Module]) -> tuple[dict[str, inspect.Parameter], bool]:
    """Return the keyword options of a model class by name, and whether it accepts others besides.

    They are the arguments of ``__init__``, those of the next class that ``**kwargs`` are passed on to, and, where an
    argument's type is a dataclass, that dataclass's fields in its place. Without the class's `withheld_options`.
    """
    options, open_ended = _options(cls)
    withheld = getattr(cls, "withheld_options", ())
    return {name: option for name, option in options.items() if name not in withheld}, open_ended


def _options(cls: type[nn.Module]) -> tuple[dict[str, inspect.Parameter], bool]:
    found: dict[str, inspect.Parameter] = {}
    for base in cls.__mro__:
        init = base.__dict__.get("__init__")
        if init is None:
            continue
        if base in (nn.Module, object):
            return found, True
        parameters = list(inspect.signature(init).parameters.values())[1:]
        groups = _option_groups(init)
        for parameter in parameters:
            if parameter.name in groups:
                found |= {k: v for k, v in _fields(groups[parameter.name]).items() if k not in found}
            elif parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                found.setdefault(parameter.name, parameter)
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return found, False
    return found, True


def _option_groups(init: Any) -> dict[str, type]:
    """Return the arguments of an ``__init__`` whose type is a dataclass, with that type."""
    hints = get_type_hints(init)
    return {name: hint for name, hint in hints.items() if isinstance(hint, type) and is_dataclass(hint)}


def _fields(group: type) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(group).parameters)


def _grouped(cls: type[nn.Module], options: dict[str, Any]) -> dict[str, Any]:
    """Collect the options that are fields of a dataclass argument into an instance of it."""
    options = dict(options)
    for base in cls.__mro__:
        init = base.__dict__.get("__init__")
        if init is None or base in (nn.Module, object):
            continue
        for name, group in _option_groups(init).items():
            given = {key: options.pop(key) for key in _fields(group) if key in options}
            if given:
                options[name] = group(**given)
    return options


def check_options(cls: type[nn.Module], name: str, options: dict[str, Any]) -> None:
    """Raise TypeError for an option that ``cls`` does not take, naming the nearest one."""
    known, further = model_options(cls)
    unknown = [key for key in options if key not in known]
    if not unknown or further:
        return
    parts = []
    for key in unknown:
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        parts.append(f"{key!r}" + (f" (did you mean {near[0]!r}?)" if near else ""))
    raise TypeError(f"{name} has no option {', '.join(parts)}; it takes {', '.join(known)}")


def _default_cfg(name: str, model: nn.Module) -> dict[str, Any]:
    size = getattr(model, "img_size", 224)
    size = size if isinstance(size, tuple) else (size, size)
    hooks = interface_of(model)
    return {
        "architecture": name,
        "num_classes": getattr(model, "num_classes", 1000),
        "input_size": (getattr(model, "in_chans", 3), *size),
        "fixed_input_size": True,
        "pool_size": None,
        "crop_pct": 0.9,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": hooks.first_conv,
        "classifier": hooks.classifier_name,
    }


def list_models(method: str | None = None) -> list[str]:
    """Return the names registered by this package, sorted.

    method: a package of `dynvit.models` or the beginning of names, such as ``"tpc_vit"`` or ``"tpc_swin"``.
    """
    return sorted(
        name
        for name, (cls, _) in MODELS.items()
        if method is None or method in cls.__module__.split(".") or name.startswith(f"{method}_")
    )
