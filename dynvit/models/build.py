"""Any timm model by name, ours or timm's own, at the size that is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import timm
from torch import nn


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
    try:
        return timm.create_model(name, **{**defaults, **options})
    except TypeError as error:
        if "img_size" in options or "img_size" not in defaults or "'img_size'" not in str(error):
            raise
        return timm.create_model(name, **{**{key: defaults[key] for key in defaults if key != "img_size"}, **options})
