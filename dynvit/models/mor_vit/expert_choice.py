"""Expert choice over a recursive stack: at recursion r the router keeps k_r of the tokens kept at r - 1.

A recursion's unit of layers runs on the kept tokens as one Block, which contains its own residuals; the gate combines
its result with the state before it (``ExpertRouter.combine``). Tokens left out keep their state.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dynvit.layers.token_gather import gather_tokens, top_tokens
from dynvit.models.mor_vit.cached_kv_block import where_active
from dynvit.models.mor_vit.expert_router import ExpertRouter
from dynvit.models.mor_vit.forward_record import ForwardRecord
from dynvit.models.mor_vit.recursive_stack import KVCache, RecursiveStack
from dynvit.models.mor_vit.token_order import ActivePrefix, Prefix, SortedTokens, replace_first


def run_masked(
    stack: RecursiveStack, router: ExpertRouter, x_BMC: Tensor, kept: Sequence[int], record: ForwardRecord
) -> Tensor:
    """Every token through every layer; kept: k_r for r = 0, 1, ..."""
    cache: KVCache = {}
    all_BN = torch.ones(x_BMC.shape[0], x_BMC.shape[1] - 1, dtype=torch.bool, device=x_BMC.device)
    candidates_BN, routed = all_BN, 0
    for unit, layers in stack.schedule.spans():
        if unit.recursion is None:
            for i in layers:
                x_BMC = stack.dense(i, x_BMC, None, cache)
                record.add_state(x_BMC)
            record.add_layers(len(layers), all_BN, None)
            continue
        if unit.recursion == 0:
            candidates_BN = all_BN
        logits_BN = router.logits(routed, x_BMC[:, 1:])
        ranked_BN = logits_BN.masked_fill(~candidates_BN, float("-inf"))
        best_BK = top_tokens(ranked_BN, kept[unit.recursion])
        selected_BN = torch.zeros_like(candidates_BN).scatter(1, best_BK, True)
        active_BM = torch.cat([all_BN[:, :1], selected_BN], 1)
        state_BMC = x_BMC
        for i in layers:
            state_BMC = where_active(active_BM, stack.dense(i, state_BMC, active_BM, cache), state_BMC)
            if i + 1 < layers.stop:
                record.add_state(state_BMC)
        x_BMC = where_active(active_BM, router.combine(x_BMC, state_BMC, logits_BN), x_BMC)
        record.add_state(x_BMC)
        if stack.training:
            record.add_router_losses(logits_BN, selected_BN, candidates_BN)
        record.add_layers(len(layers), selected_BN, ranked_BN)
        candidates_BN, routed = selected_BN, routed + 1
    return x_BMC


def run_gathered(
    stack: RecursiveStack, router: ExpertRouter, x_BMC: Tensor, kept: Sequence[int], record: ForwardRecord
) -> Tensor:
    """Only kept tokens through each unit, in training too: they are the first rows, reordered at each recursion."""
    cache: KVCache = {}
    B, M, _ = x_BMC.shape
    order = SortedTokens(torch.arange(M, device=x_BMC.device).repeat(B, 1))
    active, routed = order.all, 0
    for unit, layers in stack.schedule.spans():
        if unit.recursion is None:
            for i in layers:
                x_BMC = order.all.scatter(x_BMC, stack.sparse(i, x_BMC, order, order.all, cache))
            _record(record, len(layers), order.order_BM, order.all, None)
            continue
        if unit.recursion == 0:
            active = order.all
        keep = kept[unit.recursion]
        logits_BN = router.logits(routed, active.gather(x_BMC)[:, 1:])
        x_BMC, logits_BN = _best_first(order, x_BMC, logits_BN, keep)
        active, routed = ActivePrefix(1 + keep), routed + 1
        if stack.training:
            first_N = torch.arange(logits_BN.shape[1], device=logits_BN.device) < keep
            record.add_router_losses(logits_BN, first_N.expand_as(logits_BN))
        before_BKC = active.gather(x_BMC)
        if len(layers) > 1 and not torch.is_grad_enabled():
            before_BKC = before_BKC.clone()  # the layers then overwrite the rows of x
        for i in layers:
            state_BKC = stack.sparse(i, x_BMC, order, active, cache)
            if i + 1 < layers.stop:
                x_BMC = active.scatter(x_BMC, state_BKC)
        x_BMC = active.scatter(x_BMC, router.combine(before_BKC, state_BKC, logits_BN[:, :keep]))
        _record(record, len(layers), order.order_BM, active, logits_BN)
    return order.unsort(x_BMC)


def _best_first(order: SortedTokens, x_BMC: Tensor, logits_BN: Tensor, keep: int) -> tuple[Tensor, Tensor]:
    """Reorder the candidates, rows 1..N, so that the kept ones come first; the class token stays row 0."""
    if keep == logits_BN.shape[1]:
        return x_BMC, logits_BN
    ranking_BN = top_tokens(logits_BN, logits_BN.shape[1])
    moved_BK = torch.cat([torch.zeros_like(ranking_BN[:, :1]), 1 + ranking_BN], 1)
    order.order_BM = replace_first(order.order_BM, order.order_BM.gather(1, moved_BK), 1)
    return replace_first(x_BMC, gather_tokens(x_BMC, moved_BK), 1), logits_BN.gather(1, ranking_BN)


def _record(record: ForwardRecord, layers: int, order_BM: Tensor, active: Prefix, logits_BN: Tensor | None) -> None:
    """Record active tokens and their logits in raster order."""
    if not record.watched:
        return
    active_BM = torch.zeros_like(order_BM, dtype=torch.bool).scatter(1, order_BM[:, : active.active], True)
    scores_BM = None
    if logits_BN is not None:
        scores_BM = logits_BN.new_full(order_BM.shape, float("-inf"))
        scores_BM = scores_BM.scatter(1, order_BM[:, 1 : 1 + logits_BN.shape[1]], logits_BN)[:, 1:]
    record.add_layers(layers, active_BM[:, 1:], scores_BM)
