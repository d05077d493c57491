"""Building models on the meta device without the time that initialization takes there."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

IN_PLACE = {
    getattr(Tensor, f"{name}_") for name in ("normal", "uniform", "erfinv", "clamp", "zero", "fill", "mul", "add")
}
"""What initialization of weights is made of."""


class SkipInit(TorchFunctionMode):
    """Leaves weights on the meta device uninitialized: most of the time of building there goes into it."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in IN_PLACE and args[0].is_meta and not any(isinstance(other, Tensor) for other in args[1:]):
            return args[0]
        return function(*args, **(kwargs or {}))
