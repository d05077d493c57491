"""Token maps of a few images in one small file: which tokens were active in which layer, and how they ranked.

``maps.npz`` holds, for I images, L layers and N patches in raster order (the finest grid where grids shrink):
images uint8 [I, H, W, C], active bool [I, L, N], grid int [2]; and, where the model has scores, importance
uint8 [I, S, N] (255 for the highest rank of an image, 0 for the lowest) of the layers scored int [S], and their kind.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynvit.analysis.importance import importance
from dynvit.analysis.rank_statistics import average_ranks
from dynvit.macs import evaluating
from dynvit.tokens import on_grid, trace_tokens

FILE = "maps.npz"
Arrays = dict[str, np.ndarray[Any, Any]]


@torch.no_grad()
def token_maps(model: nn.Module, images: Tensor, kinds: Sequence[str], pixels: int) -> Arrays:
    """Return the arrays. pixels: largest stored side of an image. kinds: the first that the model has is stored."""
    with evaluating(model):
        with trace_tokens(model) as trace:
            model(images)
        tokens = max(a_BN.shape[1] for a_BN in trace.active)
        active = torch.stack([on_grid(a_BN, tokens) for a_BN in trace.active], 1)
        side = round(tokens**0.5)
        maps: Arrays = {
            "images": to_uint8_images(images, pixels),
            "active": active.bool().cpu().numpy(),
            "grid": np.array([side, tokens // side]),
        }
        for kind in kinds:
            scores = importance(kind, model, images)
            if scores is not None:
                return maps | _ranked(kind, scores, tokens)
    return maps


def to_uint8_images(images: Tensor, pixels: int) -> np.ndarray[Any, Any]:
    """Return ``uint8[I, H, W, C]``, each image scaled from its minimum to its maximum."""
    x_ICHW = images.float().cpu()
    if max(x_ICHW.shape[2:]) > pixels:
        x_ICHW = F.interpolate(x_ICHW, size=(pixels, pixels), mode="area")
    low, high = x_ICHW.amin((1, 2, 3), keepdim=True), x_ICHW.amax((1, 2, 3), keepdim=True)
    scaled = (x_ICHW - low) / (high - low).clamp(min=1e-6)
    found: np.ndarray[Any, Any] = (255 * scaled).round().byte().permute(0, 2, 3, 1).numpy()
    return found


def pack(maps: Arrays) -> bytes:
    """Return the bytes of an .npz file; equal maps give equal bytes."""
    out = io.BytesIO()
    np.savez_compressed(out, allow_pickle=False, **maps)
    return out.getvalue()


def _ranked(kind: str, scores: Sequence[Tensor | None], tokens: int) -> Arrays:
    layers = [i for i, s_BN in enumerate(scores) if s_BN is not None]
    shares = [(average_ranks(s_BN) - 1) / max(s_BN.shape[1] - 1, 1) for s_BN in scores if s_BN is not None]
    ranked = torch.stack([on_grid(s_BN, tokens) for s_BN in shares], 1)
    return {
        "importance": (255 * ranked).round().byte().cpu().numpy(),
        "scored": np.array(layers),
        "kind": np.array(kind),
    }
