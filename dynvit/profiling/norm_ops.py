"""Operations that some counters add for normalization: fvcore counts 5 per element of a layer norm, 2 of a batch norm.

``dynvit.complexity`` counts none. This may explain a published number slightly above ours.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
LAYER, BATCH = 5, 2
PER_ELEMENT: dict[Any, int] = {
    aten.native_layer_norm: LAYER,
    aten.native_batch_norm: BATCH,
    aten.cudnn_batch_norm: BATCH,
    aten._native_batch_norm_legit: BATCH,
    aten._native_batch_norm_legit_no_training: BATCH,
    aten._batch_norm_no_update: BATCH,
}


class NormCounter(TorchDispatchMode):
    """Sum over the norms inside the block: ``with NormCounter() as c: model(x)``, then ``c.operations``."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations += PER_ELEMENT.get(getattr(func, "_overloadpacket", func), 0) * _elements(args)
        return func(*args, **(kwargs or {}))


def _elements(args: Any) -> int:
    return args[0].numel() if args and isinstance(args[0], torch.Tensor) else 0
