"""TPC-ViT on DeiT, reconstructed: tokens are paused and restarted by a controller, never deleted.

Paper: arXiv 2401.01470 (no official code). In layer l the stabilizer gives ``u = x + DW(x)``, the block works on
the active tokens of u, these take its output and paused ones are carried as they are; then the controller reads
the new states and decides about layer l + 1. The class token is always active.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from timm.layers import resample_abs_pos_embed
from timm.models import checkpoint
from timm.models._features import feature_take_indices
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor

from dynvit.layers.controller import Chain, Choice, Controller, Rules
from dynvit.layers.partial_block import Everything, Gathered, Layout, Local, Masked, Ragged, oracle_row, run
from dynvit.layers.propagation import gate
from dynvit.layers.propagation_loss import Weights, outcome
from dynvit.layers.stabilizer import stabilizer as make_stabilizer
from dynvit.output import Output
from dynvit.registry import register
from dynvit.tokens import TokenTrace

VARIANTS: dict[str, dict[str, Any]] = {
    "tpc_deit_tiny_patch16_224": {"embed_dim": 192, "depth": 12, "num_heads": 3},
    "tpc_deit_small_patch16_224": {"embed_dim": 384, "depth": 12, "num_heads": 6},
    "tpc_deit_base_patch16_224": {"embed_dim": 768, "depth": 12, "num_heads": 12},
}


class TPCViT(VisionTransformer):
    """DeiT with token propagation controller and stabilizer (reconstructed); names of the trunk as in timm.

    pause: True, False (dense, stabilizer only), "random" or "attention" (the lowest class attention), these two at
    the rate that the controller gives. restart: False means r = 0. keep_rate: None, or the share of patch tokens
    that every layer after the first keeps. The further options are those of ``Rules`` and the loss weights.
    """

    def __init__(
        self,
        img_size: int | tuple[int, int] = 224,
        patch_size: int = 16,
        in_chans: int = 3,
        num_classes: int = 1000,
        embed_dim: int = 192,
        depth: int = 12,
        num_heads: int = 3,
        mlp_ratio: float = 4.0,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        pause: bool | Literal["random", "attention"] = True,
        restart: bool = True,
        smoothing: Literal["none", "spatial", "prior", "both"] = "both",
        stabilizer: Literal["off", "dw_pre", "dw_mlp", "peg_once"] = "dw_pre",
        keep_rate: float | None = None,
        score: Literal["channel", "linear", "cls_attention"] = "channel",
        score_scale: float = 1.0,
        pause_offset: float = -3.0,
        restart_offset: float = 0.0,
        threshold: float = 0.5,
        terminate: bool = False,
        eps: float = 0.01,
        smooth_strength: float = 0.5,
        smooth_sigma: float = 1.0,
        depth_ema: float = 0.0,
        ponder_weight: float = 5e-4,
        prior_weight: float = 1e-3,
        budget_weight: float = 2.0,
        distill_weight: float = 0.0,
    ) -> None:
        rules = Rules(
            pause, restart, smoothing, keep_rate, score, score_scale, pause_offset, restart_offset, threshold,
            terminate, eps, smooth_strength, smooth_sigma, depth_ema,
        )  # fmt: skip
        if embed_dim % num_heads:
            raise ValueError(f"embed_dim {embed_dim} is not a multiple of num_heads {num_heads}")
        super().__init__(
            img_size=img_size, patch_size=patch_size, in_chans=in_chans, num_classes=num_classes, embed_dim=embed_dim,
            depth=depth, num_heads=num_heads, mlp_ratio=mlp_ratio, drop_rate=drop_rate, drop_path_rate=drop_path_rate,
        )  # fmt: skip
        self.img_size, self.first_conv = img_size, "patch_embed.proj"
        self.trace: TokenTrace | None = None
        self.execution = "gathered"
        self.static_cost = pause is False
        self.stabilizer_kind = stabilizer
        self.stabilizer = make_stabilizer(stabilizer, [embed_dim] * depth, mlp_ratio)
        self.controller = Controller(depth, embed_dim, rules) if pause else None
        self.rules, self.weights = rules, Weights(ponder_weight, prior_weight, budget_weight, distill_weight)

    def set_execution(self, execution: Literal["gathered", "masked"]) -> None:
        """How evaluation pauses tokens: really leave them out, or keep dense shapes. Training is always masked."""
        if execution not in ("gathered", "masked"):
            raise ValueError(f"execution must be gathered or masked, got {execution!r}")
        self.execution = execution

    def forward(self, images: Tensor) -> Tensor | Output:
        """Logits ``[B, K]``; in training an ``Output`` with the losses where pausing or distillation is on."""
        x_BTC, chain = self._propagate(images)
        logits = self.forward_head(self.norm(x_BTC))
        if not self.training:
            return logits
        return outcome(logits, [chain] if chain else [], self.rules, self.weights)

    def forward_features(self, images: Tensor) -> Tensor:
        """Normalised tokens ``[B, 1 + N, C]``, class token first."""
        return self.norm(self._propagate(images)[0])

    def _propagate(self, images: Tensor, states: list[Tensor] | None = None) -> tuple[Tensor, Chain | None]:
        x_BTC = self._pos_embed(self.patch_embed(images))
        grid = self.patch_embed.grid_size
        chain = self.controller.start(len(x_BTC), grid, x_BTC) if self.controller else None
        for layer in range(len(self.blocks)):
            x_BTC = self._layer(layer, x_BTC, grid, chain)
            if states is not None:
                states.append(x_BTC)
        return x_BTC, chain

    def _layer(self, layer: int, x_BTC: Tensor, grid: tuple[int, int], chain: Chain | None) -> Tensor:
        """The state after a layer, from the state before it."""
        block, last = self.blocks[layer], layer + 1 == len(self.blocks)
        u_BTC, local = self._stabilize(layer, x_BTC, grid)
        if chain is None:
            self._record(x_BTC)
            return self._run(block, u_BTC, Everything(), False, local)[0]
        choice = self.controller.choose(chain, lambda: oracle_row(block, u_BTC)[:, 1:])
        self._record(x_BTC, choice, chain.pi_BN)
        layout = self._layout(choice)
        row = self.controller.reads_attention and (self.training or not last)
        y, row_BT = self._run(block, u_BTC, layout, row, local)
        if self.training and layer:
            x_BTC = gate(x_BTC, y, layout.keys, F.pad(chain.pi_BN, (1, 0), value=1.0))
        else:
            x_BTC = layout.put(x_BTC, y)
        if self.training or not last:  # the scores after the last layer serve the prior alone
            self.controller.observe(chain, x_BTC[:, 1:], None if row_BT is None else row_BT[:, 1:])
        return x_BTC

    def _stabilize(self, layer: int, x_BTC: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Local | None]:
        """What the block sees, and what happens inside its MLP."""
        if str(layer) not in self.stabilizer:
            return x_BTC, None
        convolution = self.stabilizer[str(layer)]
        if self.stabilizer_kind == "dw_mlp":
            return x_BTC, lambda h_BTH: convolution(h_BTH, grid)
        return convolution(x_BTC, grid), None

    def _layout(self, choice: Choice) -> Layout:
        if choice.active_BN is None:
            return Everything()
        masked = self.training or self.execution == "masked" or torch.compiler.is_compiling()
        if choice.index_BK is not None and (self.execution == "gathered" and not self.training):
            return Gathered(F.pad(choice.index_BK + 1, (1, 0)))
        active_BT = F.pad(choice.active_BN, (1, 0), value=True)
        return Masked(active_BT) if masked else Ragged(active_BT)

    def _run(
        self, block: Block, u_BTC: Tensor, layout: Layout, row: bool, local: Local | None
    ) -> tuple[Tensor, Tensor | None]:
        if self.grad_checkpointing and self.training:
            return checkpoint(run, block, u_BTC, layout, row, local)  # type: ignore[no-any-return]
        return run(block, u_BTC, layout, row, local)

    def _record(self, x_BTC: Tensor, choice: Choice | None = None, pi_BN: Tensor | None = None) -> None:
        if self.trace is None:
            return
        active_BN = None if choice is None else choice.active_BN
        if active_BN is None:
            active_BN = x_BTC.new_ones(len(x_BTC), x_BTC.shape[1] - 1, dtype=torch.bool)
        self.trace.record(active_BN, pi_BN)

    def forward_intermediates(
        self, x: Tensor, indices: int | list[int] | None = None, return_prefix_tokens: bool = False,
        norm: bool = False, stop_early: bool = False, output_fmt: str = "NCHW", intermediates_only: bool = False,
    ) -> Any:  # fmt: skip
        """As timm's: the states after the chosen layers, carried tokens included."""
        wanted, _ = feature_take_indices(len(self.blocks), indices)
        states: list[Tensor] = []
        final = self.norm(self._propagate(x, states)[0])
        picked = [self.norm(states[i]) if norm else states[i] for i in wanted]
        patches = [s[:, 1:] for s in picked]
        if output_fmt == "NCHW":
            patches = [s.unflatten(1, self.patch_embed.grid_size).permute(0, 3, 1, 2).contiguous() for s in patches]
        shown = list(zip(patches, [s[:, :1] for s in picked], strict=True)) if return_prefix_tokens else patches
        return shown if intermediates_only else (final, shown)

    @torch.jit.ignore
    def no_weight_decay(self) -> set[str]:
        return super().no_weight_decay() | {"controller.pause_shift", "controller.restart_shift"}

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        groups = super().group_matcher(coarse)
        groups["blocks"] = [*groups["blocks"], (r"^stabilizer\.(\d+)", None), (r"^controller", (99999,))]
        return groups

    def convert_trunk(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """timm DeiT -> ours: the names are equal; a position table of another grid is resampled."""
        own = dict(state_dict)
        if "pos_embed" in own and own["pos_embed"].shape[1] != self.pos_embed.shape[1]:
            own["pos_embed"] = resample_abs_pos_embed(own["pos_embed"], self.patch_embed.grid_size, num_prefix_tokens=1)
        return own


register(TPCViT, VARIANTS)
