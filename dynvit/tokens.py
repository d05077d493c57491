"""TokenTrace: which tokens were active in which layer, for costs, maps and analysis."""

from __future__ import annotations

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
        return sum((on_grid(a_BN, n).int() for a_BN in self.active), torch.zeros_like(self.active[0]).int())

    def mean_active(self) -> list[float]:
        """Share of active tokens per layer, averaged over the batch."""
        return [a_BN.float().mean().item() for a_BN in self.active]


def on_grid(active_BN: Tensor, n: int) -> Tensor:
    """Repeat a coarser square grid's values onto a finer square grid of n tokens."""
    if active_BN.shape[1] == n:
        return active_BN
    fine, coarse = round(n**0.5), round(active_BN.shape[1] ** 0.5)
    if fine * fine != n or coarse * coarse != active_BN.shape[1]:
        raise ValueError(f"cannot compare a grid of {active_BN.shape[1]} tokens with one of {n}")
    index = torch.arange(fine, device=active_BN.device) * coarse // fine
    grid = active_BN.view(-1, coarse, coarse)
    return grid[:, index][:, :, index].reshape(-1, n)


@contextmanager
def trace_tokens(model: nn.Module) -> Iterator[TokenTrace]:
    """``with trace_tokens(model) as t: model(x)`` then read ``t.active``, ``t.scores``, ``t.depth``.

    The trace holds the last forward pass. Models record into ``model.trace`` (one ``TokenTrace`` or None);
    for a plain timm transformer every token is active in every block.
    """
    trace = TokenTrace()
    plain = not interface_of(model).records_tokens
    blocks = _blocks(model) if plain else []
    handles = [model.register_forward_pre_hook(lambda *_: trace.clear() if model.trace is trace else None)]
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


def _record(model: nn.Module, trace: TokenTrace, block: nn.Module, args: tuple[Tensor, ...]) -> None:
    """Hook on a block of a timm transformer: every patch token is active in every block."""
    if model.trace is trace:
        x = args[0]
        n = _patches(model, x.shape)
        trace.record(torch.ones(x.shape[0], n, dtype=torch.bool, device=x.device))


def _patches(model: nn.Module, shape: torch.Size) -> int:
    """Patch tokens in a block's input ``[B, N, D]``, ``[B, H, W, D]`` (Swin) or ``[B, D, H, W]`` (convolutional)."""
    if len(shape) == 3:
        alone = shape[1] == getattr(getattr(model, "patch_embed", None), "num_patches", None)
        return shape[1] - (0 if alone else getattr(model, "num_prefix_tokens", 0))  # CaiT's class token comes late
    convolutional = shape[2] == shape[3] != shape[1]
    return shape[2] * shape[3] if convolutional else shape[1] * shape[2]


def _blocks(model: nn.Module) -> list[nn.Module]:
    """The blocks of a ViT, or of all stages of a Swin or LeViT, in order."""
    if hasattr(model, "blocks"):
        return list(model.blocks)
    stages = getattr(model, "stages", getattr(model, "layers", ()))
    blocks = [block for stage in stages for block in getattr(stage, "blocks", ())]
    if not blocks:
        raise ValueError(f"{type(model).__name__} has no token trace and no blocks to watch")
    return blocks
