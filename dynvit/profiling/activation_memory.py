"""Peak memory of one forward pass, beyond weights and input."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@torch.no_grad()
def forward_peak(model: nn.Module, images: Tensor) -> int:
    """Return bytes. On a GPU the peak of torch's allocator; elsewhere that of all tensors alive at once, which is the
    same on every machine but lacks the workspaces of kernels."""
    if images.is_cuda:
        model(images)  # libraries allocate their workspaces
        torch.cuda.synchronize(images.device)
        before = torch.cuda.memory_allocated(images.device)
        torch.cuda.reset_peak_memory_stats(images.device)
        model(images)
        return torch.cuda.max_memory_allocated(images.device) - before
    old = {t.untyped_storage()._cdata for t in (*model.parameters(), *model.buffers(), images)}
    with _LiveStorage(old) as alive:
        model(images)
    return alive.peak


class _LiveStorage(TorchDispatchMode):
    """Track every storage that an operator allocates until it is freed."""

    def __init__(self, old: set[int]) -> None:
        super().__init__()
        self.known, self.now, self.peak = set(old), 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._add(leaf.untyped_storage())
        return out

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self.known:
            self.known.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._drop, key, size)

    def _drop(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size
