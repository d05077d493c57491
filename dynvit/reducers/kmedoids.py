"""K-Medoids: clusters of tokens, of each the one that costs least stays as it is (from Token Pooling, arXiv 2110.03860,
as compared in arXiv 2308.04657).
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from dynvit.config.option_checks import check_not_negative
from dynvit.layers.token_gather import inverse, top_tokens
from dynvit.reduction.distances import nearest_centre, squared_distances
from dynvit.reduction.grouping import Grouping, Places, by_assignment, select
from dynvit.reduction.keeping import Keeping
from dynvit.reduction.reducer import Place
from dynvit.reduction.signals import Signals
from dynvit.reduction.stream import Stream


@dataclass(frozen=True)
class KMedoids(Keeping):
    """On the input of a block; the first centres are the tokens that the block before attends to most."""

    rounds: int = 3
    """Times that the clusters and their centres are found anew."""
    equal_weight: bool = False
    """All tokens cost alike, and the first centres lie far from each other; the very first is drawn."""
    cost: Literal["all", "members"] = "all"
    """A token's cost is its weight times the sum of its distances to all tokens of the image, as published, or to those
    of its own cluster."""
    seed: int = 0
    """Of the draw."""

    name: ClassVar[str] = "kmedoids"
    place: ClassVar[Place] = "before"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_not_negative(rounds=self.rounds)

    def first_location(self) -> int:
        return 0 if self.equal_weight else 1  # the first block has none before it

    def carries(self, block: int, places: Places) -> bool:
        return not self.equal_weight and block + 1 < places.depth and places.plan[block + 1] is not None

    def carry(self, signals: Signals, places: Places) -> Tensor:
        """How much attention each token gets, over heads and queries: ``[B, N]``."""
        return signals.attention().detach().sum((1, 2))

    def group(self, stream: Stream, signals: Signals | None, kept: int, block: int, places: Places) -> Grouping:
        distance_BMM = squared_distances(stream.x_BND[:, places.prefix :]).sqrt_()
        if self.equal_weight:
            weight_BM, centre_BK = None, far_apart(distance_BMM, kept, self.seed)
        else:
            assert stream.carry is not None
            weight_BM = stream.carry[:, places.prefix :]
            centre_BK = top_tokens(weight_BM, kept)
        for _ in range(self.rounds):
            group_BM = nearest_centre(distance_BMM, centre_BK)
            cost_BM = self.costs(distance_BMM, group_BM)
            centre_BK = cheapest(cost_BM if weight_BM is None else cost_BM * weight_BM, group_BM, kept)
        group_BM = nearest_centre(distance_BMM, centre_BK)
        return by_assignment(centre_BK + places.prefix, group_BM, places)

    def costs(self, distance_BMM: Tensor, group_BM: Tensor) -> Tensor:
        """Sum of the distances to the tokens that count: ``[B, M]``."""
        if self.cost == "all":
            return distance_BMM.sum(-1)
        return distance_BMM.mul(group_BM.unsqueeze(1) == group_BM.unsqueeze(2)).sum(-1)

    def combine(self, stream: Stream, grouping: Grouping, block: int, places: Places) -> Stream:
        return stream._replace(x_BND=select(stream.x_BND, grouping))


def cheapest(cost_BM: Tensor, group_BM: Tensor, groups: int) -> Tensor:
    """The member of each group that costs least, the first of equal ones: ``int[B, K]``. No group is empty."""
    order_BM = cost_BM.argsort(dim=1, stable=True)
    first_BK = order_BM.new_full((order_BM.shape[0], groups), order_BM.shape[1] - 1)
    return order_BM.gather(1, first_BK.scatter_reduce_(1, group_BM, inverse(order_BM), "amin"))


def far_apart(distance_BMM: Tensor, count: int, seed: int) -> Tensor:
    """`count` tokens, the first drawn, the same of every image, each next the one farthest from those before."""
    B, M = distance_BMM.shape[:2]
    first = _drawn(M, seed)
    chosen = [torch.full((B,), first, device=distance_BMM.device)]
    row_B = torch.arange(B, device=distance_BMM.device)
    near_BM = distance_BMM[:, first]
    for _ in range(count - 1):
        near_BM = near_BM.scatter(1, chosen[-1].unsqueeze(1), -1.0)  # chosen once, even if all tokens are alike
        chosen.append(near_BM.argmax(1))
        near_BM = torch.minimum(near_BM, distance_BMM[row_B, chosen[-1]])
    return torch.stack(chosen, 1)


@torch.compiler.assume_constant_result
def _drawn(count: int, seed: int) -> int:
    """A number below `count`, in a graph a constant."""
    return random.Random(seed).randrange(count)
