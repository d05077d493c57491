"""Building models on the meta device without the time that initialization takes there."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import init
from torch.overrides import TorchFunctionMode

IN_PLACE = {
    getattr(Tensor, f"{name}_") for name in ("normal", "uniform", "erfinv", "clamp", "zero", "fill", "mul", "add")
}
"""What initialization of weights is made of."""
WHOLE = {init.uniform_, init.normal_, init.constant_, init.kaiming_uniform_}
"""Torch's own that come by here whole: what they consist of does not."""


class SkipInit(TorchFunctionMode):
    """Leaves weights on the meta device uninitialized: most of the time of building there goes into it."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in WHOLE and (weight := args[0] if args else kwargs["tensor"]).is_meta:
            return weight
        if function in IN_PLACE and args[0].is_meta and not any(isinstance(other, Tensor) for other in args[1:]):
            return args[0]
        return function(*args, **(kwargs or {}))
