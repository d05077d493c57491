"""Running a model on the meta device for its shapes, in a fifth of the time."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

SAME_SHAPE = {F.layer_norm, F.gelu, F.softmax, torch.softmax, Tensor.softmax, F.dropout}


class ShapesOnly(TorchFunctionMode):
    """Leaves out what changes no shape: torch's kernels for it on the meta device are written in Python and take most
    of the time. Matrix products run, so that they are counted; other devices are left alone."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not args or not isinstance(args[0], Tensor) or not args[0].is_meta:
            return function(*args, **kwargs)
        cast = any(isinstance(value, torch.dtype) for value in (*args, *kwargs.values()))
        if function in SAME_SHAPE and not cast:
            return torch.empty_like(args[0], memory_format=torch.contiguous_format)
        if function is F.linear:
            return function(args[0], args[1] if len(args) > 1 else kwargs["weight"])  # without the bias
        if function is F.scaled_dot_product_attention and len(args) > 2:
            return args[0].new_empty(*args[0].shape[:-1], args[2].shape[-1])
        return function(*args, **kwargs)
