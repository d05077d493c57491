"""Token choice over a recursive stack: token i runs layers 1..depth_i, then stays as it is.

Reference: h <- h + gate_s (Block_s(h) - h) at every layer s, as a ``where`` on the hard gate, so that a frozen state is
kept bit for bit; in training the straight-through gradient of the gate is added as a term that is exactly zero.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dynvit.layers.token_rows import rows_by_depth
from dynvit.models.mor_vit.cached_kv_block import freeze
from dynvit.models.mor_vit.depth_router import DepthChoice
from dynvit.models.mor_vit.forward_record import Passage
from dynvit.models.mor_vit.recursive_stack import Memory, RecursiveStack


def run_plain(stack: RecursiveStack, x_BMC: Tensor, passage: Passage) -> Tensor:
    """No routing: every token through every layer."""
    for i in range(len(stack)):
        x_BMC = stack.dense(i, x_BMC, None, {})
        passage.keep(x_BMC)
    passage.record(len(stack), x_BMC.new_ones(x_BMC.shape[0], x_BMC.shape[1] - 1, dtype=torch.bool))
    return x_BMC


def run_masked(stack: RecursiveStack, x_BMC: Tensor, choice: DepthChoice, passage: Passage) -> Tensor:
    """Every token through every layer; finished ones keep their state."""
    memory: Memory = {}
    for i in range(len(stack)):
        active_BM = choice.depth_BM > i
        block_BMC = stack.dense(i, x_BMC, active_BM, memory)
        new_BMC = freeze(active_BM, block_BMC, x_BMC)
        if choice.gates_BMS is not None and torch.is_grad_enabled():
            gate_BM1 = choice.gates_BMS[..., i : i + 1].to(x_BMC.dtype)
            new_BMC = new_BMC + (gate_BM1 - gate_BM1.detach()) * (block_BMC - x_BMC).detach()
        x_BMC = new_BMC
        passage.keep(x_BMC)
    _record(passage, choice, len(stack))
    return x_BMC


def run_gathered(stack: RecursiveStack, x_BMC: Tensor, choice: DepthChoice, passage: Passage) -> Tensor:
    """Only active tokens through each layer. No gate gradient: training of token choice runs masked."""
    rows = rows_by_depth(choice.depth_BM, len(stack), key_masks=stack.context == "active_only")
    x = rows.sort(x_BMC)
    memory: Memory = {}
    for i, level in enumerate(rows.levels):
        if level.rows:
            x = rows.put(x, stack.sparse(i, x, rows, level, memory))
    _record(passage, choice, len(stack))
    return rows.unsort(x)


def _record(passage: Passage, choice: DepthChoice, layers: int) -> None:
    """A token's score is its expected depth, the same at every layer since the choice is made once."""
    if passage.watched:
        scores_BM = choice.expected_depth_BM
        for i in range(layers):
            passage.record(1, choice.depth_BM[:, 1:] > i, None if scores_BM is None else scores_BM[:, 1:])
