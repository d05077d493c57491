"""Which tokens are active: whether their pauses look like noise, and how far their depths spread.

isolated_pauses       share of the pauses whose neighbors above, below, left and right all are active
pause_flips           share of the token states with a layer before and behind that differ from both, which are equal
depth_spread_within   standard deviation of the depth (layers a token is processed in) within an image, mean over images
depth_spread_between  standard deviation (n - 1) over images of their mean depth
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynvit.macs import evaluating
from dynvit.tokens import coarser_grid, trace_tokens


@torch.no_grad()
def token_states(model: nn.Module, batches: Iterable[Tensor]) -> dict[str, float]:
    """Return the four over images ``[B, C, S, S]``; the first two only where tokens pause. ValueError without trace."""
    isolated = pauses = flips = states = 0
    within: list[float] = []
    depths: list[float] = []
    with evaluating(model), trace_tokens(model) as trace:
        for x_BCSS in batches:
            model(x_BCSS)
            active = [a_BN.bool() for a_BN in trace.active]
            for a_BN in active:
                grid = coarser_grid(trace.grid, active[0].shape[1], a_BN.shape[1])
                isolated += int(isolated_pauses(a_BN, grid).sum())
                pauses += int((~a_BN).sum())
            for turned_BN in pause_flips(active):
                flips, states = flips + int(turned_BN.sum()), states + turned_BN.numel()
            depth_BN = trace.depth.double()
            within += depth_BN.std(1, correction=0).tolist()
            depths += depth_BN.mean(1).tolist()
    found = {
        "depth_spread_within": statistics.fmean(within),
        "depth_spread_between": statistics.stdev(depths) if len(depths) > 1 else 0.0,
    }
    if pauses:
        found["isolated_pauses"] = isolated / pauses
    if pauses and states:
        found["pause_flips"] = flips / states
    return found


def isolated_pauses(active_BN: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return which tokens pause while none of their up to four neighbors does ``bool[B, N]``. grid: rows, columns."""
    paused_BHW = ~active_BN.view(-1, *grid)
    padded = F.pad(paused_BHW, (1, 1, 1, 1))
    beside = padded[:, :-2, 1:-1] | padded[:, 2:, 1:-1] | padded[:, 1:-1, :-2] | padded[:, 1:-1, 2:]
    return (paused_BHW & ~beside).flatten(1)


def pause_flips(active_LBN: Sequence[Tensor]) -> list[Tensor]:
    """Return for each layer between two of its grid which states differ from both neighbors' ``bool[B, N]``."""
    triples = zip(active_LBN, active_LBN[1:], active_LBN[2:], strict=False)
    return [(b != a) & (b != c) for a, b, c in triples if a.shape == b.shape == c.shape]
