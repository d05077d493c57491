"""The layers of a recursive transformer, run densely or on the active rows only, with remembered keys and values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dynvit.layers.token_rows import Level
from dynvit.models.mor_vit.cached_kv_block import CachedKVBlock, Rows, key_mask
from dynvit.models.mor_vit.weight_sharing import Schedule, SharedBlocks

KVCache = dict[str, Any]  # weights' name -> what its last run left behind; lives for one forward pass


class RecursiveStack(SharedBlocks):
    """``CachedKVBlock`` s of a schedule; drops: stochastic depth rate per layer, so a shared block has several."""

    def __init__(
        self, schedule: Schedule, build: Callable[[], nn.Module], context: str, drops: Sequence[float]
    ) -> None:
        super().__init__(schedule, build)
        self.schedule, self.context, self.drops = schedule, context, tuple(drops)
        self.grad_checkpointing = False

    def dense(self, i: int, x_BMC: Tensor, active_BM: Tensor | None, cache: KVCache) -> Tensor:
        """Layer i on every token; active_BM None: the plain block, whatever the context.

        This is the reference: it caches nothing but what ``first_kv`` defines as reused.
        """
        block: CachedKVBlock = self[i]
        mask, kv_BMC = None, None
        if active_BM is not None and self.context == "active_only":
            mask = key_mask(active_BM)
        if active_BM is not None and self.context == "first_kv":
            name = self.schedule.layers[i]
            if name not in cache:
                cache[name] = block.keys(x_BMC)
            kv_BMC = cache[name]
        return self._call(block, x_BMC, mask, self.drops[i], kv_BMC)

    def sparse(self, i: int, x: Tensor, rows: Rows, level: Level, cache: KVCache) -> Tensor:
        """Layer i on the active rows: their new states.

        Since these weights last ran, only rows active then can have changed, and they are still the first ones.
        """
        name = self.schedule.layers[i]
        kv, changed = cache.get(name, (None, rows.all))
        new, kv = self._call(self[i].forward_rows, x, rows, level, changed, kv, self.context, self.drops[i])
        cache[name] = kv, level
        return new

    def _call(self, function: Callable[..., Any], *args: Any) -> Any:
        if self.grad_checkpointing and self.training:
            return checkpoint(function, *args, use_reentrant=False)
        return function(*args)
