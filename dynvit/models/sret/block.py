"""A transformer block applied several times in a row, each pass followed by a small layer of its own (SReT)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dynvit.models.sret.attention import group_attention
from dynvit.models.sret.permutation import Permuter, inverse_order
from dynvit.models.sret.residual import ScaledResidual, pad_outputs

EPS = 1e-6


class Mlp(nn.Module):
    """``x <- a x + b fc2(gelu(fc1(LN(x))))``: the second half of a block, and the non-linear projection layer."""

    def __init__(self, dim: int, hidden: int, learn_scales: bool, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=EPS)
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)
        self.residual = ScaledResidual(learn_scales, drop_path_rate)

    def forward(self, x_BNC: Tensor) -> Tensor:
        h_BNH = self.fc1(self.norm(x_BNC))
        # The hidden layer is the largest tensor of all; without gradients one copy of it is enough.
        h_BNH = F.gelu(h_BNH) if torch.is_grad_enabled() else torch.ops.aten.gelu_(h_BNH)
        return self.residual(x_BNC, h_BNH, self.fc2)

    def fold(self) -> None:
        self.fc2 = self.residual.fold_into(self.fc2)


class SlicedAttention(nn.Module):
    """``x <- a x + b proj(attention(LN(x)))`` inside groups of tokens, permuted before and put back after."""

    def __init__(self, dim: int, heads: int, learn_scales: bool, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        self.dim, self.heads = dim, heads
        self.scale = (dim // heads) ** -0.5
        self.norm = nn.LayerNorm(dim, eps=EPS)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.residual = ScaledResidual(learn_scales, drop_path_rate)

    def forward(self, x_BNC: Tensor, groups: int, order_N: Tensor | None) -> Tensor:
        y_BNC = self.norm(x_BNC)
        if order_N is not None:
            y_BNC = y_BNC.index_select(1, order_N)
        qkv_BNE = self.qkv(y_BNC)[..., : 3 * self.dim]
        z_BNC = group_attention(qkv_BNE, self.heads, groups, self.scale)
        if order_N is not None:
            z_BNC = z_BNC.index_select(1, inverse_order(order_N))
        return self.residual(x_BNC, z_BNC, self.proj)

    def fold(self) -> None:
        self.proj = self.residual.fold_into(self.proj)
        self.qkv = pad_outputs(self.qkv)


class RecursiveBlock(nn.Module):
    """One unique block and the non-linear projection layers that follow its passes.

    nlls: one per pass, one for all passes, or none. A pass is a block application and its NLL.
    """

    def __init__(self, attention: SlicedAttention, mlp: Mlp, nlls: list[Mlp]) -> None:
        super().__init__()
        self.attention = attention
        self.mlp = mlp
        self.nlls = nn.ModuleList(nlls)

    def forward(self, x_BNC: Tensor, groups: int, order_N: Tensor | None, r: int) -> Tensor:
        x_BNC = self.mlp(self.attention(x_BNC, groups, order_N))
        return self.nlls[min(r, len(self.nlls) - 1)](x_BNC) if self.nlls else x_BNC


class RecursiveStage(nn.Module):
    """Blocks on one grid, each applied ``len(groups)`` times before the next one.

    groups: number of slices of every pass. Passes after the first permute the tokens when they are sliced.
    """

    def __init__(self, blocks: list[RecursiveBlock], groups: tuple[int, ...], grid: tuple[int, int]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.groups = groups
        self.grid = grid
        self.grad_checkpointing = False

    @property
    def tokens(self) -> int:
        return self.grid[0] * self.grid[1]

    @property
    def depth(self) -> int:
        """Block applications."""
        return len(self.blocks) * len(self.groups)

    def permutations(self) -> int:
        """How many permutations one forward pass draws."""
        return len(self.blocks) * sum(g > 1 for g in self.groups[1:])

    def forward(self, x_BNC: Tensor, permuter: Permuter, k: int) -> Tensor:
        """k: how many permutations the forward pass has drawn before this stage."""
        checkpointing = self.grad_checkpointing and torch.is_grad_enabled()
        for block in self.blocks:
            for r, groups in enumerate(self.groups):
                order_N = None
                if r > 0 and groups > 1:
                    order_N = permuter(k, self.tokens).to(x_BNC.device)
                    k += 1
                if checkpointing:
                    # One saved tensor per pass: its input. The order is an argument, so that it is not drawn twice.
                    x_BNC = checkpoint(block, x_BNC, groups, order_N, r, use_reentrant=False)
                else:
                    x_BNC = block(x_BNC, groups, order_N, r)
        return x_BNC
