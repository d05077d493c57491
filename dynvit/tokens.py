"""TokenTrace: which tokens were active in which layer, for costs, maps and analysis."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from dynvit.interface import interface_of


class TokenTrace:
    """Filled by one forward pass of a model.

    active: per layer ``bool[B, N]``, patch tokens in raster order of that layer's grid.
    scores: per layer ``float[B, N]`` or None where the method has no score there.
    depth:  ``int[B, N]`` layers each token was processed in; where grids shrink, on the first
            grid, a coarse token standing for the fine tokens above it.
    """

    def __init__(self) -> None:
        self.active: list[Tensor] = []
        self.scores: list[Tensor | None] = []
        self.grid: tuple[int, int] | None = None
        """Rows and columns of the first layer; None: as many rows as columns."""

    def clear(self) -> None:
        self.active.clear()
        self.scores.clear()

    def record(self, active_BN: Tensor, scores_BN: Tensor | None = None) -> None:
        """Append one layer; called by a model once per layer."""
        self.active.append(active_BN.detach())
        self.scores.append(None if scores_BN is None else scores_BN.detach())

    @property
    def depth(self) -> Tensor:
        if not self.active:
            raise RuntimeError("no forward pass was traced yet")
        n = self.active[0].shape[1]
        return sum((on_grid(a_BN, n, self.grid).int() for a_BN in self.active), torch.zeros_like(self.active[0]).int())

    def mean_active(self) -> list[float]:
        """Share of active tokens per layer, averaged over the batch."""
        return [a_BN.float().mean().item() for a_BN in self.active]


def on_grid(values_BN: Tensor, n: int, grid: tuple[int, int] | None = None) -> Tensor:
    """Repeat a coarser grid's values onto a finer grid of n tokens: `grid` if it has as many, else a square.

    Both sides of a coarser grid are those of the finer one, halved and rounded up, once or more.
    """
    tokens = values_BN.shape[1]
    if tokens == n:
        return values_BN
    fine, (rows, columns) = coarser_grid(grid, n, n), coarser_grid(grid, n, tokens)
    row_H, column_W = (
        torch.arange(side, device=values_BN.device) * coarse // side
        for side, coarse in zip(fine, (rows, columns), strict=True)
    )
    return values_BN.view(-1, rows, columns)[:, row_H][:, :, column_W].reshape(-1, n)


def coarser_grid(grid: tuple[int, int] | None, n: int, tokens: int) -> tuple[int, int]:
    """Return rows and columns of a layer's `tokens`. grid: of the finest layer, if it has its `n`, else a square.

    Raises ValueError for numbers that are not those of a grid, halved and rounded up, once or more.
    """
    rows, columns = fine = grid if grid and math.prod(grid) == n else (math.isqrt(n),) * 2
    while rows * columns > max(tokens, 1):
        rows, columns = (rows + 1) // 2, (columns + 1) // 2
    if rows * columns != tokens or math.prod(fine) != n:
        raise ValueError(f"cannot compare a grid of {tokens} tokens with one of {n}")
    return rows, columns


@contextmanager
def trace_tokens(model: nn.Module) -> Iterator[TokenTrace]:
    """``with trace_tokens(model) as t: model(x)`` then read ``t.active``, ``t.scores``, ``t.depth``.

    The trace holds the last forward pass. Models record into ``model.trace`` (one ``TokenTrace`` or None);
    for a plain timm transformer every token is active in every block.
    """
    trace = TokenTrace()
    plain = not interface_of(model).records_tokens
    blocks = _blocks(model) if plain else []
    handles = [model.register_forward_pre_hook(partial(_begin, trace))]
    handles += [block.register_forward_pre_hook(partial(_record, model, trace)) for block in blocks]
    previous = interface_of(model).trace
    model.trace = trace  # on plain models too: setting it to None pauses the trace
    try:
        yield trace
    finally:
        for handle in handles:
            handle.remove()
        if plain:
            del model.trace
        else:
            model.trace = previous


def _begin(trace: TokenTrace, model: nn.Module, args: tuple[Tensor, ...]) -> None:
    """Hook on a model: a new forward pass."""
    if model.trace is trace:
        trace.clear()
        trace.grid = _grid_of_images(model, args) or interface_of(model).grid


def _grid_of_images(model: nn.Module, args: tuple[Tensor, ...]) -> tuple[int, int] | None:
    """Grid of these images, which need not be of the model's own size (timm's `dynamic_img_size`)."""
    grid_of = getattr(getattr(model, "patch_embed", None), "dynamic_feat_size", None)
    if grid_of is None or not args or getattr(args[0], "ndim", 0) != 4:
        return None
    rows, columns = grid_of(tuple(args[0].shape[-2:]))
    return rows, columns


def _record(model: nn.Module, trace: TokenTrace, block: nn.Module, args: tuple[Tensor, ...]) -> None:
    """Hook on a block of a timm transformer: every patch token is active in every block."""
    if model.trace is trace:
        shape = args[0].shape
        grid = _grid(block, shape)
        trace.grid = trace.grid or grid
        n = math.prod(grid) if grid else shape[1] - _prefix_tokens(model, shape[1])
        trace.record(torch.ones(shape[0], n, dtype=torch.bool, device=args[0].device))


def _grid(block: nn.Module, shape: torch.Size) -> tuple[int, int] | None:
    """Grid of a block's input ``[B, H, W, D]`` (Swin), ``[B, D, H, W]`` (convolutions) or ``[B, N, D]`` (LeViT)."""
    if len(shape) == 3:
        return getattr(getattr(block, "attn", None), "resolution", None)
    layer = next((m for m in block.modules() if isinstance(m, nn.Conv2d | nn.Linear | nn.LayerNorm)), None)
    if layer is None or isinstance(layer, nn.Conv2d):
        return shape[2], shape[3]
    width = layer.in_features if isinstance(layer, nn.Linear) else layer.normalized_shape[-1]
    return (shape[1], shape[2]) if shape[3] == width else (shape[2], shape[3])  # some norms are over the second


def _prefix_tokens(model: nn.Module, tokens: int) -> int:
    alone = tokens == getattr(getattr(model, "patch_embed", None), "num_patches", None)
    late = hasattr(model, "blocks_token_only") or hasattr(model, "cls_attn_blocks")  # the class token of CaiT and XCiT
    return 0 if alone or late else getattr(model, "num_prefix_tokens", 0)


def _blocks(model: nn.Module) -> list[nn.Module]:
    """The blocks of a ViT, or of all stages of a Swin or LeViT, in order."""
    if hasattr(model, "blocks"):
        return list(model.blocks)
    stages = getattr(model, "stages", getattr(model, "layers", ()))
    blocks = [block for stage in stages for block in getattr(stage, "blocks", ())]
    if not blocks:
        raise ValueError(f"{type(model).__name__} has no token trace and no blocks to watch")
    return blocks
