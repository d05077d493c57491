"""Registration of our models with timm: one table of variants per method, clear errors for options."""

from __future__ import annotations

import difflib
import inspect
import sys
from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import register_model
from timm.models._features import FeatureGetterNet
from torch import nn

_METHODS: dict[str, str] = {}  # model name -> method (the name of the package in dynvit/models)

# What timm.create_model hands to every entry point besides the user's options.
_FROM_TIMM = ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")
_OF_FEATURES = ("out_indices", "output_fmt")  # go with features_only


def register(cls: type[nn.Module], variants: dict[str, dict[str, Any]]) -> None:
    """Register every variant of a model class with timm.

    variants: name -> keyword arguments of ``cls`` that define it; the user's options override them.
    Both the table and the defaults in ``cls.__init__`` are literals, so that study files can be
    checked against them without importing torch (``studies/engine/catalog/models.py`` reads the source).
    """
    module = sys.modules[cls.__module__]
    for name, preset in variants.items():
        _METHODS[name] = (["", *cls.__module__.split(".")])[-2] or cls.__module__
        register_model(_entry_point(cls, name, preset, module.__name__))


def _entry_point(cls: type[nn.Module], name: str, preset: dict[str, Any], module: str) -> Any:
    def create(pretrained: bool = False, **options: Any) -> nn.Module:
        if pretrained:
            raise ValueError(f"{name} has no published weights to download; use dynvit.load_official or load_trunk")
        for key in _FROM_TIMM:
            options.pop(key, None)
        pyramid = options.pop("features_only", False)
        features = {key: options.pop(key) for key in _OF_FEATURES if key in options}
        check_options(cls, name, options if pyramid else {**options, **features})
        model = cls(**{**preset, **options})
        model.default_cfg = model.pretrained_cfg = _default_cfg(name, model)
        return _features(model, name, features) if pyramid else model

    create.__name__ = create.__qualname__ = name
    create.__module__ = module
    create.__doc__ = f"{name}: {cls.__doc__}"
    return create


def _features(model: nn.Module, name: str, options: dict[str, Any]) -> nn.Module:
    """The maps of a pyramid's stages instead of logits (timm's ``features_only=True``)."""
    if not hasattr(model, "forward_intermediates"):
        raise ValueError(f"{name} has no feature pyramid")
    options.setdefault("out_indices", tuple(range(len(model.feature_info))))
    pyramid = FeatureGetterNet(model, **options)
    pyramid.default_cfg = pyramid.pretrained_cfg = model.default_cfg
    return pyramid


def check_options(cls: type[nn.Module], name: str, options: dict[str, Any]) -> None:
    """Raise TypeError for an option that ``cls`` does not take, naming the nearest one."""
    known = [p for p in inspect.signature(cls.__init__).parameters if p != "self"]
    unknown = [key for key in options if key not in known]
    if not unknown:
        return
    parts = []
    for key in unknown:
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        parts.append(f"{key!r}" + (f" (did you mean {near[0]!r}?)" if near else ""))
    raise TypeError(f"{name} has no option {', '.join(parts)}; it takes {', '.join(known)}")


def _default_cfg(name: str, model: nn.Module) -> dict[str, Any]:
    size = getattr(model, "img_size", 224)
    size = size if isinstance(size, tuple) else (size, size)
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
        "first_conv": getattr(model, "first_conv", None),
        "classifier": getattr(model, "classifier_name", "head"),
    }


def list_models(method: str | None = None) -> list[str]:
    """Names registered by this package, sorted; `method` is a package of `dynvit.models` or the beginning of a name,
    such as ``"tpc_vit"`` or ``"tpc_swin"``."""
    return sorted(name for name, m in _METHODS.items() if method in (None, m) or name.startswith(f"{method}_"))
