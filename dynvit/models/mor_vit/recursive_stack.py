"""The layers of a recursive transformer, run on all tokens or the active ones only, with a cache of keys and values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dynvit.models.mor_vit.cached_kv_block import CachedKVBlock, active_keys
from dynvit.models.mor_vit.token_order import PackedSortedTokens, Prefix, SortedTokens
from dynvit.models.mor_vit.weight_sharing import Schedule, SharedBlocks

KVCache = dict[str, Any]  # name of the weights -> keys and values of their last run; lives for one forward pass


class BlockOptions(nn.Identity):
    """Stands in timm's constructor for a `CachedKVBlock` of these options: the blocks are drawn after all the rest."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options


class RecursiveStack(SharedBlocks):
    """``CachedKVBlock`` s of a schedule; drops: stochastic depth rate per layer, so a shared block has several."""

    def __init__(self, schedule: Schedule, blocks: Iterable[nn.Module], context: str, drops: Sequence[float]) -> None:
        super().__init__(schedule, blocks)
        self.schedule, self.context, self.drops = schedule, context, tuple(drops)
        self.grad_checkpointing = False

    def __getitem__(self, layer: int | slice) -> nn.Module:
        """The block of a layer; of a slice, which timm takes to drop layers, the stack of the first ones."""
        if not isinstance(layer, slice):
            return super().__getitem__(layer)
        schedule = self.schedule.first(len(range(len(self))[layer]))
        blocks = (self.get_submodule(name) for name in schedule.weights)
        part = RecursiveStack(schedule, blocks, self.context, self.drops)
        part.grad_checkpointing = self.grad_checkpointing
        return part.train(self.training)

    def dense(self, i: int, x_BMC: Tensor, active_BM: Tensor | None, cache: KVCache) -> Tensor:
        """Return every token after layer i; active_BM None: the plain block, in any context.

        This is the reference: it caches nothing but what ``first_kv`` defines as reused.
        """
        block: CachedKVBlock = self[i]
        mask, kv_BMC = None, None
        if active_BM is not None and self.context == "active_only":
            mask = active_keys(active_BM)
        if active_BM is not None and self.context == "first_kv":
            name = self.schedule.layers[i]
            if name not in cache:
                cache[name] = block.keys(x_BMC)
            kv_BMC = cache[name]
        return self._call(block, x_BMC, mask, self.drops[i], kv_BMC)

    def sparse(
        self, i: int, x: Tensor, order: SortedTokens | PackedSortedTokens, active: Prefix, cache: KVCache
    ) -> Tensor:
        """Return the new states of the active tokens after layer i.

        Since these weights last ran, only tokens active then can have changed, and they are still the first ones.
        """
        name = self.schedule.layers[i]
        kv, changed = cache.get(name, (None, order.all))
        new, kv = self._call(self[i].forward_active, x, active, changed, kv, self.context, self.drops[i])
        cache[name] = kv, active
        return new

    def _call(self, function: Callable[..., Any], *args: Any) -> Any:
        if self.grad_checkpointing and self.training:
            return checkpoint(function, *args, use_reentrant=False)
        return function(*args)
