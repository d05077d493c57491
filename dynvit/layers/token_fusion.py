"""EViT's reduction: keep the tokens that the class token attends to, sum up the others in one fused token.

Tokens of `keep` and `hide` are ``[class, M others]``. Both give the same numbers: one removes tokens, the other keeps
dense shapes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dynvit.layers.mac_counting import exclude_from_macs
from dynvit.layers.token_gather import gather_tokens, top_tokens


def keep(x_BTD: Tensor, row_BM: Tensor, kept: int, fuse: bool) -> tuple[Tensor, Tensor]:
    """``[class, the kept by falling score, fused]`` and the indices ``[B, K]`` of the kept among the M others.

    row_BM: how much the class token attends to each token.
    """
    top_BK = top_tokens(row_BM, kept)
    parts = [x_BTD[:, :1], gather_tokens(x_BTD, top_BK + 1)]
    if fuse:
        parts.append(fused(x_BTD[:, 1:], row_BM.scatter(1, top_BK, 0.0)))
    return torch.cat(parts, 1), top_BK


def hide(x_BTD: Tensor, row_BM: Tensor, alive_BT: Tensor, kept: int, fuse: bool) -> tuple[Tensor, Tensor]:
    """The same tokens, the fused one appended, and which of them are alive now."""
    top_BK = top_tokens(row_BM.masked_fill(~alive_BT[:, 1:], -1.0), kept)
    stays_BM = torch.zeros_like(alive_BT[:, 1:]).scatter(1, top_BK, True)
    if not fuse:
        return x_BTD, F.pad(stays_BM, (1, 0), value=True)
    rest_BM = row_BM.masked_fill(stays_BM, 0.0)  # the row of a hidden token is 0 already
    return torch.cat([x_BTD, fused(x_BTD[:, 1:], rest_BM)], 1), F.pad(stays_BM, (1, 1), value=True)


def fused(x_BMD: Tensor, weight_BM: Tensor) -> Tensor:
    """Sum of the tokens by their weights, which do not add up to 1: ``[B, 1, D]``."""
    with exclude_from_macs():  # a weighted sum, neither a linear layer nor attention: the published cost leaves it out
        return weight_BM.to(x_BMD.dtype).unsqueeze(1) @ x_BMD
