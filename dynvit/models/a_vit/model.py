"""A-ViT: every token halts on its own, by the first channel of its state (arXiv 2112.07658, CVPR 2022).

A token's output is the mean of its states weighted by its halting scores. The released code masks halted tokens and
saves nothing; here they are really removed, at any batch size, with the same numbers.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.models import checkpoint
from torch import Tensor

from dynvit.config.option_checks import check_not_negative, check_positive
from dynvit.layers.block import run_block
from dynvit.layers.deit import DeiT
from dynvit.layers.intermediates import TokenIntermediates
from dynvit.layers.token_layout import Packed
from dynvit.models.a_vit.halting import HaltingScore, HaltingState, divergence, masked_block, prior
from dynvit.output import Output
from dynvit.registry import register

VARIANTS: dict[str, dict[str, Any]] = {
    "avit_deit_tiny_patch16_224": {"embed_dim": 192, "num_heads": 3},
    "avit_deit_small_patch16_224": {"embed_dim": 384, "num_heads": 6, "gate_center": 75.0},
}


class AViT(TokenIntermediates, DeiT):
    """A-ViT on DeiT; no parameter is added.

    gate_scale, gate_center, eps: of the halting score (``dynvit.models.a_vit.halting.HaltingScore``).
    ponder_weight, distribution_weight: of the two losses. prior_mean: the layer around which tokens should halt.
    exact: False trains by the paper's intent: the prior is a distribution, and the halting scores that are compared
        with it are those of all images' patches. True restores the released code, whose prior does not sum to 1 and
        whose scores leave out the first image of the batch instead of the class token.
    early_exit: an image leaves when its class token has stopped: the same logits for less. Otherwise its patches go on
        until they stop themselves, as in the released code.
    """

    static_cost = False

    def __init__(
        self,
        gate_scale: float = 10.0,
        gate_center: float = 30.0,
        eps: float = 0.01,
        ponder_weight: float = 5e-4,
        distribution_weight: float = 1e-3,
        prior_mean: float = 8.0,
        exact: bool = False,
        early_exit: bool = False,
        **backbone: Any,
    ) -> None:
        super().__init__(**backbone)
        depth = len(self.blocks)
        check_positive(gate_scale=gate_scale, eps=eps)
        check_not_negative(ponder_weight=ponder_weight, distribution_weight=distribution_weight)
        if eps >= 1:
            raise ValueError(f"eps must be below 1, got {eps}")
        if exact and not 1 <= prior_mean <= depth:
            raise ValueError(f"prior_mean must be between 1 and the depth {depth} with exact=True, got {prior_mean}")
        self.exact, self.early_exit = exact, early_exit
        self.halting_score = HaltingScore(gate_scale, gate_center, eps)
        self.register_buffer("prior", prior(depth, prior_mean, exact), persistent=False)
        self.weights = {"ponder": ponder_weight, "distribution": distribution_weight}

    # ---- forward

    def forward(self, x: Tensor) -> Tensor | Output:
        """Logits ``[B, K]``; in training an ``Output``; its ``extra`` has `depth` and `ponder` of all tokens."""
        if not self.training:
            return self.forward_head(self.norm(self._evaluate(x, class_only=self.global_pool == "token")))
        out_BTC, halting, scores_LBT = self._masked(self._pos_embed(self.patch_embed(x)))
        logits = self.forward_head(self.norm(out_BTC))
        losses = {"ponder": halting.ponder.mean(), "distribution": self._distribution(scores_LBT)}
        extra = {"depth": halting.blocks, "ponder": halting.ponder}
        return Output(logits, losses, extra, dict(self.weights))

    def _features(self, x: Tensor, states: list[Tensor] | None = None) -> Tensor:
        """Normalized outputs ``[B, 1 + N, C]``, each token's mean of its states."""
        if self.training or states is not None:
            return self.norm(self._masked(self._pos_embed(self.patch_embed(x)), states)[0])
        return self.norm(self._evaluate(x, class_only=False))

    def _evaluate(self, x: Tensor, class_only: bool) -> Tensor:
        x_BTC = self._pos_embed(self.patch_embed(x))
        if self.execution == "masked" or torch.compiler.is_compiling():
            return self._masked(x_BTC)[0]
        return self._gathered(x_BTC, class_only)

    def _masked(self, x_BTC: Tensor, states: list[Tensor] | None = None) -> tuple[Tensor, HaltingState, list[Tensor]]:
        """Dense shapes. Returns outputs, accounts, and every block's own halting scores ``[B, T]``.

        states: filled with those after each block, a stopped token keeping its last.
        """
        active_BT = torch.ones_like(x_BTC[..., 0], dtype=torch.bool)
        halting, out_BTC, scores = HaltingState.init(x_BTC), torch.zeros_like(x_BTC), []
        for layer, block in enumerate(self.blocks):
            if self.grad_checkpointing and self.training:
                x_BTC = checkpoint(masked_block, block, x_BTC, active_BT)
            else:
                x_BTC = masked_block(block, x_BTC, active_BT)
            if states is not None:
                states.append(torch.where(active_BT[..., None], x_BTC, states[-1] if states else x_BTC))
            scores.append(self.halting_score(x_BTC))
            self._record(active_BT, scores[-1] * active_BT)
            weight_BT, stops_BT = halting.update(self._due(layer, scores[-1]), self.halting_score.eps, active_BT)
            out_BTC = out_BTC + weight_BT[..., None].to(x_BTC.dtype) * x_BTC
            active_BT = active_BT & ~stops_BT
            if self.early_exit and not self.training:
                active_BT = active_BT & active_BT[:, :1]
        return out_BTC, halting, scores

    def _gathered(self, x_BTC: Tensor, class_only: bool) -> Tensor:
        """Blocks on the active tokens alone: of even shape until the first one stops, then one row of all images."""
        B, T, C = x_BTC.shape
        out = x_BTC.new_zeros(B, 1 if class_only else T, C)
        token_F = torch.arange(B * T, device=x_BTC.device)
        rows_FC, halting, layout = x_BTC.flatten(0, 1), HaltingState.init(x_BTC.flatten(0, 1)), None
        for layer, block in enumerate(self.blocks):
            if layout is None:
                rows_FC = block(rows_FC.view(B, T, C)).flatten(0, 1)
            else:
                rows_FC = run_block(block, rows_FC, layout)
            score_F = self.halting_score(rows_FC)
            self._record_rows(token_F, score_F, (B, T))
            weight_F, stops_F = halting.update(self._due(layer, score_F), self.halting_score.eps)
            _collect(out, weight_F, rows_FC, token_F, T)
            if layer + 1 == len(self.blocks):
                break
            if self.early_exit:
                stops_F = _with_its_class(stops_F, token_F, B, T)
            going = (~stops_F).nonzero()[:, 0]
            if not len(going):
                self._record_nothing(len(self.blocks) - layer - 1, x_BTC)
                break
            if len(going) < len(token_F):
                token_F, rows_FC = token_F[going], rows_FC.index_select(0, going)
                halting.select(going)
                layout = _packed(token_F, B, T)
        return out

    def _due(self, layer: int, score: Tensor) -> Tensor:
        """What is paid after a block: every token stops with the last one."""
        return torch.ones_like(score) if layer + 1 == len(self.blocks) else score

    def _distribution(self, scores_LBT: list[Tensor]) -> Tensor:
        scores_BTL, prior_L = torch.stack(scores_LBT, -1), self.prior[: len(scores_LBT)]
        if not self.exact:
            return divergence(scores_BTL[:, 1:].flatten(0, 1), prior_L)
        if len(scores_BTL) < 2:
            raise ValueError("exact=True leaves out the first image of the batch: it needs at least two")
        return divergence(scores_BTL[1:].flatten(0, 1), prior_L)

    # ---- trace

    def _record(self, active_BT: Tensor, scores_BT: Tensor) -> None:
        if self.trace is not None:
            self.trace.record(active_BT[:, 1:], scores_BT[:, 1:])

    def _record_rows(self, token_F: Tensor, score_F: Tensor, shape: tuple[int, int]) -> None:
        if self.trace is not None:
            scores_BT = score_F.new_zeros(shape[0] * shape[1]).index_copy(0, token_F, score_F)
            active_BT = torch.zeros_like(scores_BT, dtype=torch.bool).index_fill(0, token_F, True)
            self._record(active_BT.view(shape), scores_BT.view(shape))

    def _record_nothing(self, layers: int, x_BTC: Tensor) -> None:
        for _ in range(layers if self.trace is not None else 0):
            self._record(torch.zeros_like(x_BTC[..., 0], dtype=torch.bool), torch.zeros_like(x_BTC[..., 0]))


def _packed(token_F: Tensor, images: int, tokens: int) -> Packed:
    counts_B = torch.bincount(token_F // tokens, minlength=images)
    return Packed(token_F, images, counts_B[counts_B > 0])


def _collect(out: Tensor, weight_F: Tensor, rows_FC: Tensor, token_F: Tensor, tokens: int) -> None:
    """Add weighted states to the outputs ``[B, T, C]``, or ``[B, 1, C]`` of the class token alone."""
    if out.shape[1] == 1:
        chosen = (token_F % tokens == 0).nonzero()[:, 0]
        weight_F, rows_FC, token_F = weight_F[chosen], rows_FC[chosen], token_F[chosen] // tokens
    out.view(-1, out.shape[-1]).index_add_(0, token_F, (weight_F[:, None].to(rows_FC.dtype) * rows_FC).to(out.dtype))


def _with_its_class(stops_F: Tensor, token_F: Tensor, images: int, tokens: int) -> Tensor:
    """Return the tokens that stop if an image leaves together with its class token."""
    image_F = token_F // tokens
    leaves_B = torch.zeros(images, dtype=torch.bool, device=token_F.device)
    leaves_B[image_F[stops_F & (token_F % tokens == 0)]] = True
    return stops_F | leaves_B[image_F]


register(AViT, VARIANTS)
