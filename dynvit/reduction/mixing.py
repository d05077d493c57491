"""Mixing: base of the methods whose new tokens are weighted sums of all patch tokens, by learnt weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dynvit.layers.full_precision import autocast_off
from dynvit.layers.mac_counting import exclude_from_macs
from dynvit.layers.token_gather import top_tokens
from dynvit.reduction.grouping import Grouping, Places
from dynvit.reduction.keeping import Keeping
from dynvit.reduction.reducer import Place
from dynvit.reduction.signals import Signals
from dynvit.reduction.stream import Stream


class Mixture(nn.Module):
    """The layer of one place: of patch tokens ``[B, M, D]`` the weights ``[B, C, M]`` and what they weigh
    ``[B, M, D]``."""

    def __init__(self, clusters: int) -> None:
        super().__init__()
        self.clusters = clusters

    def forward(self, x_BMD: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError


@dataclass(frozen=True)
class Mixing(Keeping):
    """On the input of a block. The layers belong to a number of tokens, and so to a size of the image."""

    place: ClassVar[Place] = "before"
    training_free: ClassVar[bool] = False

    @property
    def makes_tokens(self) -> bool:
        return True

    def mixture(self, dim: int, clusters: int) -> Mixture:
        """The layer of a place that leaves so many tokens."""
        raise NotImplementedError

    def modules(self, model: nn.Module, patches: int) -> dict[str, nn.Module]:
        dim, depth = model.embed_dim, model.depth
        counts = [kept for kept in self.plan(patches, 0, depth) if kept is not None]
        rate = getattr(getattr(model, "patch_drop", None), "prob", 0)
        if rate and min(counts, default=patches) < patches:
            raise ValueError(
                f"{self.name} learns layers for a fixed number of tokens, and patch_drop_rate {rate:g} leaves fewer in "
                "training: set it to 0"
            )
        return {"cluster_layers": nn.ModuleList(self.mixture(dim, kept) for kept in counts)}  # type: ignore[arg-type]

    def group(self, stream: Stream, signals: Signals | None, kept: int, block: int, places: Places) -> Grouping:
        layer: Any = places.model.cluster_layers[self.places(places.depth).index(block)]  # type: ignore[index]
        if layer.clusters != kept:
            raise ValueError(
                f"{self.name} learnt to leave {layer.clusters} tokens at block {block}, of {places.patches} patches it "
                f"would be {kept}: its weights belong to one image size"
            )
        with exclude_from_macs(), autocast_off(stream.x_BND):
            weight_BCM, value_BMD = layer(stream.x_BND[:, places.prefix :].to(next(layer.parameters()).dtype))
            mixed_BCD = weight_BCM.to(value_BMD.dtype) @ value_BMD
        return shown(weight_BCM.detach(), mixed_BCD.to(stream.x_BND.dtype), places)


def shown(weight_BCM: Tensor, mixed_BCD: Tensor, places: Places) -> Grouping:
    """What traces show of a mixture: each token in the new one that takes most of it, and as kept as many as there are
    new ones, those of the largest weights."""
    P, B = places.prefix, weight_BCM.shape[0]
    most_BM, into_BM = weight_BCM.max(1)
    top_BC = top_tokens(most_BM, mixed_BCD.shape[1])
    kept_BC = top_BC.gather(1, into_BM.gather(1, top_BC).argsort(dim=1, stable=True))
    all_BM = places.position_N.narrow(0, P, into_BM.shape[1]).expand(B, -1)
    return Grouping(torch.cat([places.front(B), kept_BC + P], 1), all_BM, into_BM + P, mixed_BCD=mixed_BCD)
