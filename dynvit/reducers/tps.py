"""TPS: each pruned token is squeezed into the most similar of those that stay (arXiv 2304.10716, CVPR 2023).

dTPS prunes by DynamicViT's predictor, in front of a block, and is trained as DynamicViT. eTPS prunes by class
attention, after the attention, and needs no training; it has no runnable official code (reconstructed).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from timm.models import checkpoint
from torch import Tensor, nn

from dynvit.config.option_checks import check_not_negative
from dynvit.layers.full_precision import at_least_float32, autocast_off, run_at_full_precision
from dynvit.layers.mac_counting import exclude_from_macs
from dynvit.layers.masked_softmax import masked_softmax
from dynvit.layers.pruning_loss import distilled, kept_share
from dynvit.layers.score_predictor import ScorePredictor, hard_keep, mean_of_live
from dynvit.layers.token_gather import top_tokens
from dynvit.output import Output, of_heads
from dynvit.reduction.counts import per_location
from dynvit.reduction.distances import lengths, most_alike
from dynvit.reduction.grouping import Grouping, Places, group_mean
from dynvit.reduction.keeping import Keeping
from dynvit.reduction.reducer import Place
from dynvit.reduction.signals import Signals
from dynvit.reduction.stream import Stream

EPS = 1e-6
"""Added to the length of a token, in cosines."""


@dataclass(frozen=True)
class TPS(Keeping):
    """Means of a token that stays, weighing e, and the pruned ones next to it, weighing exp of their cosine."""

    score: Literal["predictor", "class"] = "predictor"
    """By what tokens are pruned: a learnt predictor (dTPS) or class attention (eTPS, training-free)."""
    ratio_weight: float = 2.0
    """Of dTPS's loss on the kept share, mean over places."""
    distill_weight: float = 0.5
    """Of dTPS's divergence from a teacher's logits, where there is a teacher."""

    name: ClassVar[str] = "tps"
    training_free: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_not_negative(ratio_weight=self.ratio_weight, distill_weight=self.distill_weight)

    @property
    def place(self) -> Place:  # type: ignore[override]
        return "before" if self.score == "predictor" else "between"

    @property
    def needs_class_token(self) -> bool:  # type: ignore[override]
        return self.score == "class"

    @property
    def attends_itself(self) -> bool:
        return self.score == "predictor"  # in training, through DynamicViT's masked softmax

    def modules(self, model: Any, patches: int) -> dict[str, nn.Module]:
        if self.score == "class":
            return {}
        places = self.places(model.depth)
        return {"score_predictor": nn.ModuleList(HalvedPredictor(model.embed_dim, eps=1e-5) for _ in places)}

    def log_keep(self, model: Any, block: int, x_BMD: Tensor, live_BM1: Tensor | None = None) -> Tensor:
        """Log-probabilities of keep and drop ``[B, M, 2]``; not counted as MACs, as whatever chooses tokens."""
        predictor = model.score_predictor[self.places(model.depth).index(block)]
        with exclude_from_macs():
            return run_at_full_precision(predictor, x_BMD, live_BM1)

    def group(self, stream: Stream, signals: Signals | None, kept: int, block: int, places: Places) -> Grouping:
        P, x_BND = places.prefix, stream.x_BND
        if signals is None:
            score_BM = self.log_keep(places.model, block, x_BND[:, P:])[..., 0]
            score_BN = F.pad(score_BM, (P, 0))
        else:
            score_BN = signals.class_row()
            score_BM = score_BN[:, P:]
        order_BM = top_tokens(score_BM, score_BM.shape[1]) + P
        stays_BK, gone_BR = order_BM[:, :kept], order_BM[:, kept:]
        cosine_BR, into_BR = most_alike(x_BND, lengths(x_BND) + EPS, gone_BR, stays_BK)
        kept_BK = torch.cat([places.front(x_BND.shape[0]), stays_BK], 1)
        return Grouping(kept_BK, gone_BR, into_BR + P, (cosine_BR - 1).exp(), score_BN=score_BN)

    def combine(self, stream: Stream, grouping: Grouping, block: int, places: Places) -> Stream:
        return stream._replace(x_BND=group_mean(stream.x_BND, None, grouping, places)[0])

    def train_forward(self, model: Any, images: Tensor) -> Output | None:
        """dTPS: all tokens in all blocks; which are pruned is drawn, and seen by attention as DynamicViT's mask."""
        if self.score == "class":
            return None
        stream, P = model.enter(images), model.tokens_in_front()
        live_BM1, masks, at = torch.ones_like(stream.x_BND[:, P:, :1]), [], self.places(model.depth)
        for i in range(len(model.blocks)):
            if i in at:
                patches_BMD = stream.x_BND[:, P:]
                logprob_BM2 = self.log_keep(model, i, patches_BMD, live_BM1)
                stays_BM1 = hard_keep(logprob_BM2, model.noise(len(masks), logprob_BM2)).to(live_BM1.dtype) * live_BM1
                squeezed_BMD = squeeze(patches_BMD, stays_BM1, (1 - stays_BM1) * live_BM1)
                stream = stream._replace(x_BND=torch.cat([stream.x_BND[:, :P], squeezed_BMD], 1))
                live_BM1 = stays_BM1
                masks.append(live_BM1[..., 0])
            if model.trace is not None:
                model.trace.record(live_BM1[..., 0] > 0.5)
            mask_BT = F.pad(live_BM1[..., 0], (P, 0), value=1.0)
            run = (checkpoint, masked_block) if model.grad_checkpointing else (masked_block,)
            x_BTD = run[0](*run[1:], model, i, stream, mask_BT)
            stream = stream._replace(x_BND=x_BTD)
        ratios = per_location(self.keep, len(at))[: len(masks)]  # later places may have been pruned
        # a count beyond the image's patches keeps all of them
        shares = tuple(min(1.0, r / live_BM1.shape[1]) if isinstance(r, int) else r for r in ratios)
        weights = {"ratio": self.ratio_weight / max(len(masks), 1), "distillation": self.distill_weight}
        logits_BK, extra = of_heads(model.head_of(model.finish(stream), stream.weights()))
        return Output(logits_BK, {"ratio": kept_share(masks, shares)}, extra, weights, distilled)


class HalvedPredictor(ScorePredictor):
    """The same numbers; what the mean adds is multiplied once for each image, not for each token."""

    def forward(self, x_BNC: Tensor, live_BN1: Tensor | None = None) -> Tensor:
        own_BNE, shared_BNE = self.in_conv(x_BNC).chunk(2, -1)
        first, rest = self.out_conv[0], self.out_conv[1:]
        by_own, by_mean = first.weight.chunk(2, 1)
        return rest(F.linear(own_BNE, by_own) + F.linear(mean_of_live(shared_BNE, live_BN1), by_mean, first.bias))


def squeeze(x_BMD: Tensor, stays_BM1: Tensor, gone_BM1: Tensor) -> Tensor:
    """The same means with all tokens in place, with gradient to both masks of ones and zeros: ``[B, M, D]``."""
    with exclude_from_macs(), autocast_off(x_BMD):
        unit_BMD = at_least_float32(x_BMD) / (lengths(x_BMD) + EPS).unsqueeze(-1)
        cosine_BMM = unit_BMD @ unit_BMD.transpose(1, 2)
        hidden_BMM = torch.eye(x_BMD.shape[1], dtype=torch.bool, device=x_BMD.device) | (stays_BM1 < 0.5).mT
        cosine_BMM = cosine_BMM.masked_fill(hidden_BMM, -100.0)
        goes_BMM = cosine_BMM.eq(cosine_BMM.amax(-1, keepdim=True)) * gone_BM1.to(cosine_BMM.dtype)
        weight_BMM = ((goes_BMM * cosine_BMM).exp() * goes_BMM).mT
        total_BM1 = math.e + weight_BMM.sum(-1, keepdim=True)
        return ((math.e * x_BMD + weight_BMM @ at_least_float32(x_BMD)) / total_BM1).to(x_BMD.dtype)


def masked_block(model: Any, i: int, stream: Stream, mask_BT: Tensor) -> Tensor:
    """The tokens after a block whose keys count by the mask."""
    parts, block, where = model.parts(i), model.blocks[i], model.positions(stream, i)
    normed_BTD = parts.normed(block, stream.x_BND)
    q, k, v = parts.qkv(block, normed_BTD, where)
    logits, bias = q @ k.transpose(-2, -1) * block.attn.scale, parts.bias(block, None, where)
    share = block.attn.attn_drop(masked_softmax(logits if bias is None else logits + bias, mask_BT))
    mixed_BTD = parts.project(block, (share @ v).transpose(1, 2).flatten(2), normed_BTD)
    return parts.add_mlp(block, parts.add_attention(block, stream.x_BND, mixed_BTD))  # type: ignore[no-any-return]
