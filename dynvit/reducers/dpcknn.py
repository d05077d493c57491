"""DPC-KNN: centres are dense tokens far from denser ones, a cluster becomes the weighted mean of its tokens (TCFormer's
merging, arXiv 2204.08680, CVPR 2022, as compared in arXiv 2308.04657).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from dynvit.config.option_checks import check_positive
from dynvit.layers.full_precision import run_at_full_precision
from dynvit.layers.mac_counting import exclude_from_macs
from dynvit.layers.token_gather import inverse, top_tokens
from dynvit.reduction.distances import nearest_centre, squared_distances
from dynvit.reduction.grouping import Grouping, Places, by_assignment, group_mean, ones
from dynvit.reduction.keeping import Keeping
from dynvit.reduction.reducer import Place
from dynvit.reduction.signals import Signals
from dynvit.reduction.stream import Stream


@dataclass(frozen=True)
class DPCKNN(Keeping):
    """On the input of a block. Training-free with `equal_weight`."""

    neighbors: int = 5
    """How many distances, the one to itself among them, make a token's density."""
    equal_weight: bool = False
    """A cluster is the plain mean; else tokens count by a learnt score."""

    name: ClassVar[str] = "dpcknn"
    place: ClassVar[Place] = "before"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(neighbors=self.neighbors)

    def modules(self, model: nn.Module, patches: int) -> dict[str, nn.Module]:
        if self.equal_weight:
            return {}
        places = self.places(model.depth)  # type: ignore[arg-type]
        return {"cluster_layers": nn.ModuleList(Score(model.embed_dim) for _ in places)}  # type: ignore[arg-type]

    def group(self, stream: Stream, signals: Signals | None, kept: int, block: int, places: Places) -> Grouping:
        x_BMD = stream.x_BND[:, places.prefix :]
        distance_BMM = squared_distances(x_BMD)
        centre_BK = top_tokens(prominence(distance_BMM, x_BMD.shape[2], self.neighbors), kept)
        return by_assignment(centre_BK + places.prefix, nearest_centre(distance_BMM, centre_BK), places)

    def combine(self, stream: Stream, grouping: Grouping, block: int, places: Places) -> Stream:
        if self.equal_weight:
            weight_BN = ones(stream.x_BND)
        else:
            score = places.model.cluster_layers[self.places(places.depth).index(block)].score  # type: ignore[index,union-attr]
            with exclude_from_macs():
                weight_BN = run_at_full_precision(score, stream.x_BND).squeeze(-1).exp()
        x_BKD, total_BK = group_mean(stream.x_BND, weight_BN, grouping, places)
        P = places.prefix
        damped_BKD = x_BKD[:, P:] * (total_BK / (total_BK + 1e-6))[:, P:].to(x_BKD.dtype).unsqueeze(-1)
        return stream._replace(x_BND=torch.cat([x_BKD[:, :P], damped_BKD], 1))


class Score(nn.Module):
    """How much a token counts in its cluster, as a logarithm."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.score = nn.Linear(dim, 1)


def prominence(squared_BMM: Tensor, dim: int, neighbors: int) -> Tensor:
    """Density times distance to the nearest token of higher density ``[B, M]``; of equally dense tokens the first
    counts as denser. Distances are taken per square root of the width, which decides nothing but the density."""
    M = squared_BMM.shape[1]
    density_BM = smallest(squared_BMM, min(neighbors, M)).mean(1).div(-dim).exp()
    rank_BM = inverse(top_tokens(density_BM, M)).to(squared_BMM.dtype)
    farthest_B11 = squared_BMM.amax((1, 2), keepdim=True)
    # 0 for denser tokens, the largest distance for all others: no slow choice between the two.
    others_BMM = (rank_BM.unsqueeze(1) - rank_BM.unsqueeze(2) + 1).clamp_(0, 1).mul_(farthest_B11)
    return torch.maximum(squared_BMM, others_BMM).amin(-1).sqrt() * density_BM


def smallest(squared_BMM: Tensor, count: int) -> Tensor:
    """The smallest distances of each token: ``[B, count, M]``. A few minima cost a third of a partial sort."""
    left_BMM, found = squared_BMM.clone(), []
    for _ in range(count):
        least_BM, index_BM = left_BMM.min(1)
        found.append(least_BM)
        left_BMM.scatter_(1, index_BM.unsqueeze(1), torch.inf)
    return torch.stack(found, 1)
