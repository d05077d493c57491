"""Evo-ViT on DeiT: slow-fast token evolution (arXiv 2108.01390, AAAI 2022).

Patch tokens are ranked by a running class attention. The top K go through the blocks; the others are kept aside and may
come back at the next ranking. The prediction averages ALL patch tokens; the class token only ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from timm.layers import PatchEmbed, calculate_drop_path_rates, trunc_normal_
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dynvit.layers.class_row import ClassRowBlock
from dynvit.layers.gather import gather_tokens, scatter_tokens
from dynvit.layers.selection import schedule
from dynvit.layers.slow_fast import SlowFast
from dynvit.output import Output, cross_entropy
from dynvit.registry import register

VARIANTS = {
    "evo_deit_tiny_patch16_224": {"embed_dim": 192, "num_heads": 3},
    "evo_deit_small_patch16_224": {"embed_dim": 384, "num_heads": 6},
    "evo_deit_base_patch16_224": {"embed_dim": 768, "num_heads": 12},
    "evo_deit_small_patch16_384": {"embed_dim": 384, "num_heads": 6, "img_size": 384},
    "evo_deit_base_patch16_384": {"embed_dim": 768, "num_heads": 12, "img_size": 384},
}


class EvoDeiT(SlowFast):
    """Evo-ViT on DeiT.

    keep_ratio: share of patch tokens processed from block `prune_from` on, a number or one per block.
    selection: "stage" ranks every four blocks (deployment), "layer" before every block (first training phase).
    score_weight: weight of a block's class row in the running score from `prune_from` on (1 before), or one per block.
    representative: "none" as in the official DeiT code; "weighted" or "mean" update the kept-aside tokens by the
        residuals of one token that stands for them, as Evo-LeViT does.
    drop_at_end: average the processed tokens only.
    switch_epoch: train so many epochs with layer-wise selection, then stage-wise (the paper: 200 of 300); evaluation
        follows the switch. 0: `selection` throughout.
    """

    training_only = ("norm_cls", "head_cls")
    classifier_names = ("head", "head_cls")

    def __init__(
        self,
        img_size: int = 224,
        patch_size: int = 16,
        in_chans: int = 3,
        num_classes: int = 1000,
        embed_dim: int = 192,
        depth: int = 12,
        num_heads: int = 3,
        mlp_ratio: float = 4.0,
        drop_path_rate: float = 0.0,
        keep_ratio: float | Sequence[float] = 0.5,
        prune_from: int = 4,
        selection: Literal["stage", "layer"] = "stage",
        score_weight: float | Sequence[float] = 0.5,
        representative: Literal["none", "weighted", "mean"] = "none",
        drop_at_end: bool = False,
        switch_epoch: int = 0,
    ) -> None:
        super().__init__(representative)
        self.img_size, self.in_chans, self.num_classes = img_size, in_chans, num_classes
        self.num_features = self.head_hidden_size = self.embed_dim = embed_dim
        self.drop_at_end, self.grad_checkpointing = drop_at_end, False
        self.patch_embed = PatchEmbed(img_size, patch_size, in_chans, embed_dim)
        self.num_tokens = self.patch_embed.num_patches
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, self.num_tokens + 1, embed_dim))
        rates = calculate_drop_path_rates(drop_path_rate, depth)
        self.blocks = nn.ModuleList([ClassRowBlock(embed_dim, num_heads, mlp_ratio, r) for r in rates])
        self.norm, self.norm_cls = nn.LayerNorm(embed_dim, eps=1e-6), nn.LayerNorm(embed_dim, eps=1e-6)
        self.reset_classifier(num_classes)
        self._plan = partial(schedule, depth, self.num_tokens, keep_ratio, prune_from, score_weight)
        self.prune_from = prune_from
        self.switch_epoch = switch_epoch
        self.set_selection(selection)
        self.apply(_init)
        trunc_normal_(self.cls_token, std=0.02)
        trunc_normal_(self.pos_embed, std=0.02)

    def set_selection(self, selection: Literal["stage", "layer"]) -> None:
        """Rank once per stage of four blocks, or before every block; training switches from layer to stage."""
        self.plan = self._plan(selection=selection)
        self.selection = selection

    # ---- forward

    def _block(self, i: int, x_BND: Tensor, mask_B11N: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        if self.grad_checkpointing and self.training and not torch.jit.is_scripting():
            return checkpoint(self.blocks[i], x_BND, i in self.plan.scored, mask_B11N, use_reentrant=False)
        return self.blocks[i](x_BND, i in self.plan.scored, mask_B11N)

    def _embed(self, x: Tensor) -> Tensor:
        x_BND = self.patch_embed(x)
        return torch.cat([self.cls_token.expand(x_BND.shape[0], -1, -1), x_BND], 1) + self.pos_embed

    def forward_features(self, x: Tensor) -> Tensor:
        """Images ``[B, C, H, W]`` to ``[B, 1 + N, D]``, class token first, patches in raster order, not normalised.

        With `drop_at_end`, the K tokens of the last group only.
        """
        x_BND = self._embed(x)
        g_BN: Tensor | None = None
        for i in range(self.prune_from):
            self.record(x_BND, g_BN)
            x_BND, row_BN = self._block(i, x_BND)
            g_BN = self._evolve(g_BN, row_BN, i)
        for start, end, kept in self.plan.groups:
            last = end == len(self.blocks)
            if kept == self.num_tokens or g_BN is None:
                x_BND, g_BN = self._all(x_BND, g_BN, start, end)
            else:
                x_BND, g_BN = self._some(x_BND, g_BN, start, end, kept, drop=last and self.drop_at_end)
        return x_BND

    def _all(self, x_BND: Tensor, g_BN: Tensor | None, start: int, end: int) -> tuple[Tensor, Tensor | None]:
        for i in range(start, end):
            self.record(x_BND, g_BN)
            x_BND, row_BN = self._block(i, x_BND)
            g_BN = self._evolve(g_BN, row_BN, i)
        return x_BND, g_BN

    def _some(self, x_BND: Tensor, g_BN: Tensor, start: int, end: int, kept: int, drop: bool) -> tuple[Tensor, Tensor]:
        """Blocks start..end-1 on the `kept` best tokens; the others stay as they are (or follow a representative)."""
        top_BK = g_BN.detach().topk(kept, dim=1).indices
        active_BN = torch.zeros_like(g_BN, dtype=torch.bool).scatter_(1, top_BK, True)
        if self.execution == "masked":
            return self._some_masked(x_BND, g_BN, start, end, active_BN, top_BK if drop else None)
        index_BK = torch.cat([torch.zeros_like(top_BK[:, :1]), top_BK + 1], 1)
        z_BKD = gather_tokens(x_BND, index_BK)
        r_B1D = self.represent(x_BND, g_BN, active_BN)
        if r_B1D is not None:
            z_BKD = torch.cat([z_BKD, r_B1D], 1)
        h_BK = g_BN.gather(1, top_BK)
        for i in range(start, end):
            self.record(x_BND, g_BN, active_BN)
            z_BKD, row_BK = self._block(i, z_BKD)
            h_BK = self._evolve(h_BK, None if row_BK is None else row_BK[:, :kept], i)
            if self.trace is not None:
                g_BN = g_BN.scatter(1, top_BK, h_BK)
        g_BN = g_BN.scatter(1, top_BK, h_BK)
        if drop:
            return z_BKD[:, : kept + 1], g_BN
        if r_B1D is not None:
            update_B1D = z_BKD[:, -1:] - r_B1D
            rest_BN1 = F.pad(~active_BN, (1, 0)).unsqueeze(-1)
            x_BND = x_BND + update_B1D * rest_BN1
        return scatter_tokens(x_BND, index_BK, z_BKD[:, : kept + 1]), g_BN

    def _some_masked(
        self, x_BND: Tensor, g_BN: Tensor, start: int, end: int, active_BN: Tensor, top_BK: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The same with dense shapes: tokens left out are hidden as keys and keep their state."""
        keep_BN1 = F.pad(active_BN, (1, 0), value=True).unsqueeze(-1)
        hide_BN = torch.zeros_like(keep_BN1[..., 0], dtype=x_BND.dtype).masked_fill(~keep_BN1[..., 0], -torch.inf)
        r_B1D = self.represent(x_BND, g_BN, active_BN)
        z_BND = x_BND
        if r_B1D is not None:
            z_BND, hide_BN = torch.cat([x_BND, r_B1D], 1), F.pad(hide_BN, (0, 1))
        for i in range(start, end):
            self.record(x_BND, g_BN, active_BN)
            new_BND, row_BN = self._block(i, z_BND, hide_BN[:, None, None])
            keep = keep_BN1 if r_B1D is None else F.pad(keep_BN1, (0, 0, 0, 1), value=True)
            z_BND = torch.where(keep, new_BND, z_BND)
            if row_BN is not None:
                g_BN = torch.where(active_BN, self._evolve(g_BN, row_BN[:, : self.num_tokens], i), g_BN)
        out_BND = z_BND[:, : self.num_tokens + 1]
        if r_B1D is not None:
            out_BND = torch.where(keep_BN1, out_BND, out_BND + (z_BND[:, -1:] - r_B1D))
        if top_BK is not None:
            out_BND = gather_tokens(out_BND, torch.cat([torch.zeros_like(top_BK[:, :1]), top_BK + 1], 1))
        return out_BND, g_BN

    def _evolve(self, g_BN: Tensor | None, row_BN: Tensor | None, block: int) -> Tensor | None:
        """g <- (1 - w) g + w s: the score's memory over layers."""
        if row_BN is None:
            return g_BN
        w = self.plan.weights[block]
        return row_BN if g_BN is None or w == 1.0 else (1 - w) * g_BN + w * row_BN

    def forward_head(self, x_BND: Tensor, pre_logits: bool = False) -> Tensor:
        x_BD = self.norm(x_BND[:, 1:].mean(1))
        return x_BD if pre_logits else self.head(x_BD)

    def forward(self, x: Tensor) -> Tensor | Output:
        x_BND = self.forward_features(x)
        logits_BK = self.forward_head(x_BND)
        if not self.training:
            return logits_BK
        class_BK = self.head_cls(self.norm_cls(x_BND[:, 0]))
        return Output(logits_BK, extra={"class": class_BK}, task_loss=_two_heads)

    # ---- timm's conventions

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        self.num_classes = num_classes
        for name in self.classifier_names:
            head = nn.Linear(self.embed_dim, num_classes) if num_classes else nn.Identity()
            _init(head)
            setattr(self, name, head.to(self.pos_embed))

    def no_weight_decay(self) -> set[str]:
        return {"cls_token", "pos_embed"}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        return {
            "stem": r"^cls_token|^pos_embed|^patch_embed",
            "blocks": [(r"^blocks\.(\d+)", None), (r"^norm", (99999,))],
        }

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        self.grad_checkpointing = enable

    # ---- checkpoints

    def convert_official(self, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """Official names: `qks.i.qk` and `vs.i.v` are our `attn.qkv`; `norms`, `projs` move into the blocks."""
        out = {}
        for name, tensor in state_dict.items():
            parts = name.split(".")
            if parts[0] == "qks":
                value = state_dict.get(f"vs.{parts[1]}.v.{parts[3]}")
                if value is not None:
                    out[f"blocks.{parts[1]}.attn.qkv.{parts[3]}"] = torch.cat([tensor, value])
            elif parts[0] == "norms":
                out[f"blocks.{parts[1]}.norm1.{parts[2]}"] = tensor
            elif parts[0] == "projs":
                out[f"blocks.{parts[1]}.attn.proj.{parts[2]}"] = tensor
            elif parts[0] != "vs":
                out[name] = tensor
        return out

    def convert_trunk(self, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """timm's DeiT has our names already; the average head starts from its head and final norm."""
        return dict(state_dict)


def _two_heads(output: Output, target: Tensor, teacher: Tensor | None, smoothing: float) -> Tensor:
    """Half the loss from the average head, half from the class head (official training code)."""
    return 0.5 * cross_entropy(output.logits, target, smoothing) + 0.5 * cross_entropy(
        output.extra["class"], target, smoothing
    )


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


register(EvoDeiT, VARIANTS)
