"""Token choice over a recursive stack: token i runs layers 1..depth_i, then stays as it is.

Reference: h <- h + gate_s (Block_s(h) - h) at every layer s, as a ``where`` on the hard gate, so that a frozen state is
kept bit for bit; in training the straight-through gradient of the gate is added as a term that is exactly zero.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dynvit.models.mor_vit.cached_kv_block import where_active
from dynvit.models.mor_vit.depth_router import DepthChoice
from dynvit.models.mor_vit.forward_record import ForwardRecord
from dynvit.models.mor_vit.recursive_stack import KVCache, RecursiveStack
from dynvit.models.mor_vit.token_order import sort_by_depth


def run_plain(stack: RecursiveStack, x_BMC: Tensor, record: ForwardRecord) -> Tensor:
    """No routing: every token through every layer."""
    for i in range(len(stack)):
        x_BMC = stack.dense(i, x_BMC, None, {})
        record.add_state(x_BMC)
    record.add_layers(len(stack), x_BMC.new_ones(x_BMC.shape[0], x_BMC.shape[1] - 1, dtype=torch.bool))
    return x_BMC


def run_masked(stack: RecursiveStack, x_BMC: Tensor, choice: DepthChoice, record: ForwardRecord) -> Tensor:
    """Every token through every layer; finished ones keep their state."""
    cache: KVCache = {}
    for i in range(len(stack)):
        active_BM = choice.depth_BM > i
        block_BMC = stack.dense(i, x_BMC, active_BM, cache)
        new_BMC = where_active(active_BM, block_BMC, x_BMC)
        if choice.gates_BMS is not None and torch.is_grad_enabled():
            gate_BM1 = choice.gates_BMS[..., i : i + 1].to(x_BMC.dtype)
            new_BMC = new_BMC + (gate_BM1 - gate_BM1.detach()) * (block_BMC - x_BMC).detach()
        x_BMC = new_BMC
        record.add_state(x_BMC)
    _record(record, choice, len(stack))
    return x_BMC


def run_gathered(stack: RecursiveStack, x_BMC: Tensor, choice: DepthChoice, record: ForwardRecord) -> Tensor:
    """Only active tokens through each layer. No gate gradient: training of token choice runs masked."""
    order = sort_by_depth(choice.depth_BM, len(stack), mask_keys=stack.context == "active_only")
    x = order.sort(x_BMC)
    cache: KVCache = {}
    for i, active in enumerate(order.layers):
        if active.active:
            x = active.scatter(x, stack.sparse(i, x, order, active, cache))
    _record(record, choice, len(stack))
    return order.unsort(x)


def _record(record: ForwardRecord, choice: DepthChoice, layers: int) -> None:
    """A token's score is its expected depth, the same at every layer since the choice is made once."""
    if record.watched:
        scores_BM = choice.expected_depth_BM
        for i in range(layers):
            record.add_layers(1, choice.depth_BM[:, 1:] > i, None if scores_BM is None else scores_BM[:, 1:])
