"""Any timm model by name, ours or timm's own, at the size that is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import timm
from torch import nn

if TYPE_CHECKING:
    from dynvit.data import Batches


def build(options: Mapping[str, Any], **given: Any) -> nn.Module:
    """The timm model ``options["name"]`` with the other options; these win over what the caller has `given`.

    An `img_size` among the given that the model does not know (TinyViT, convolutional networks) is left out: such a
    model takes images of any size.
    """
    told = dict(options)
    name = told.pop("name", None)
    if not name:
        raise ValueError("model needs a name, such as {name: vit_tiny_patch16_224}")
    try:
        return timm.create_model(name, **{**given, **told})
    except TypeError as error:
        if "img_size" in told or "img_size" not in given or "'img_size'" not in str(error):
            raise
        return timm.create_model(name, **{key: value for key, value in given.items() if key != "img_size"}, **told)


def fitted(options: Mapping[str, Any], data: Batches, drop_path: float) -> nn.Module:
    """The model for the data's classes, channels and image size."""
    given = {"num_classes": data.classes, "in_chans": data.channels, "img_size": data.image_size}
    return build(options, **given, **({"drop_path_rate": drop_path} if drop_path else {}))
