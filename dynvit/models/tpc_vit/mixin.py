"""Token propagation on a backbone: which tokens run in which layer, paused ones are carried (TPC-ViT, reconstructed).

In layer l the stabilizer gives ``u = x + DW(x)``, the block works on the active tokens of u, these take its output and
paused ones are carried; then the controller reads the new states and decides about layer l + 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from timm.models import checkpoint
from timm.models.vision_transformer import Block
from torch import Tensor

from dynvit.interface import DynamicModel
from dynvit.layers.attention import full_cls_attention
from dynvit.layers.block import GridMap, run_block_on_grid
from dynvit.layers.intermediates import TokenIntermediates
from dynvit.layers.token_layout import Dense, Gathered, GridLayout, Masked, Packed
from dynvit.models.tpc_vit.controller import Controller, PropagationState, TokenSelection
from dynvit.models.tpc_vit.loss import training_output
from dynvit.models.tpc_vit.markov_chain import gate
from dynvit.models.tpc_vit.options import TPCOptions
from dynvit.models.tpc_vit.stabilizer import GridConv
from dynvit.models.tpc_vit.stabilizer import stabilizer as make_stabilizer
from dynvit.output import Output


class PropagationMixin(DynamicModel):
    """Mixin before any backbone: the options, the stabilizer, the execution, the trace."""

    def _control(self, options: TPCOptions, widths: list[int], mlp_ratio: float) -> None:
        """widths: channels of each layer."""
        self.tpc = options
        self.static_cost = options.pause is False
        self.stabilizer = make_stabilizer(options.stabilizer, widths, mlp_ratio)

    @property
    def gathers(self) -> bool:
        """Whether paused tokens leave the computation now."""
        return self.execution == "gathered" and not self.training

    def convert_official(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        raise ValueError("TPC-ViT published no weights; use dynvit.load_trunk with those of its backbone")

    def _stabilize(
        self, layer: int | str, x_BTC: Tensor, grid: tuple[int, int], prefix: int = 1
    ) -> tuple[Tensor, GridMap | None]:
        """What the block sees, and what happens inside its MLP. prefix: tokens in front of those of the grid."""
        if str(layer) not in self.stabilizer:
            return x_BTC, None
        convolution: GridConv = self.stabilizer[str(layer)]
        if self.tpc.stabilizer == "dw_mlp":
            return x_BTC, lambda h_BTH: convolution(h_BTH, grid, prefix)
        return convolution(x_BTC, grid, prefix), None

    def _record(self, x_BNC: Tensor, selection: TokenSelection | None = None, pi_BN: Tensor | None = None) -> None:
        """One layer into the trace; x_BNC: the tokens of the grid."""
        if self.trace is None:
            return
        active_BN = None if selection is None else selection.active_BN
        if active_BN is None:
            active_BN = torch.ones_like(x_BNC[..., 0], dtype=torch.bool)
        self.trace.record(active_BN, pi_BN)


class ViTPropagationMixin(TokenIntermediates, PropagationMixin):
    """Mixin before a ``VisionTransformer`` with one class token, which is always active."""

    def _control_blocks(self, options: TPCOptions, mlp_ratio: float) -> None:
        depth, width = len(self.blocks), self.embed_dim
        self._control(options, [width] * depth, mlp_ratio)
        self.controller = Controller(depth, width, options) if options.pause else None
        self._draw()

    def forward(self, images: Tensor) -> Tensor | Output:
        """Logits ``[B, K]``; in training an ``Output`` with the losses where pausing or distillation is on."""
        x_BTC, chain = self._propagate(images)
        logits = self.forward_head(self.norm(x_BTC))
        if not self.training:
            return logits
        return training_output(logits, [chain] if chain else [], self.tpc)

    def _features(self, images: Tensor, states: list[Tensor] | None = None) -> Tensor:
        """Normalized tokens ``[B, 1 + N, C]``, class token first."""
        return self.norm(self._propagate(images, states)[0])

    def block_input(self, block: int, x_BTC: Tensor) -> Tensor:
        return self._stabilize(block, x_BTC, self.patch_embed.grid_size)[0]

    def _propagate(self, images: Tensor, states: list[Tensor] | None = None) -> tuple[Tensor, PropagationState | None]:
        x_BTC = self._pos_embed(self.patch_embed(images))
        grid = self.patch_embed.grid_size
        chain = self.controller.start(x_BTC.shape[0], grid, x_BTC) if self.controller else None
        for layer in range(len(self.blocks)):
            x_BTC = self._layer(layer, x_BTC, grid, chain)
            if states is not None:
                states.append(x_BTC)
        return x_BTC, chain

    def _layer(self, layer: int, x_BTC: Tensor, grid: tuple[int, int], chain: PropagationState | None) -> Tensor:
        """The state after a layer, from the state before it."""
        block, last = self.blocks[layer], layer + 1 == len(self.blocks)
        u_BTC, grid_map = self._stabilize(layer, x_BTC, grid)
        if chain is None:
            self._record(x_BTC[:, 1:])
            return self._work(block, u_BTC, Dense(), False, grid_map)[0]
        selection = self.controller.select(chain, lambda: full_cls_attention(block, u_BTC)[:, 1:])
        self._record(x_BTC[:, 1:], selection, chain.pi_BN)
        layout = self._layout(selection)
        want_cls = self.controller.reads_attention and (self.training or not last)
        y, row_BT = self._work(block, u_BTC, layout, want_cls, grid_map)
        if self.training and layer:
            x_BTC = gate(x_BTC, y, layout.keys, F.pad(chain.pi_BN, (1, 0), value=1.0))
        else:
            x_BTC = layout.scatter(x_BTC, y)
        if self.training or not last:  # the scores after the last layer serve the prior alone
            self.controller.observe(chain, x_BTC[:, 1:], None if row_BT is None else row_BT[:, 1:])
        return x_BTC

    def _layout(self, selection: TokenSelection) -> GridLayout:
        if selection.active_BN is None:
            return Dense()
        if selection.index_BK is not None and self.gathers:
            return Gathered(F.pad(selection.index_BK + 1, (1, 0)))
        active_BT = F.pad(selection.active_BN, (1, 0), value=True)
        return Packed.from_mask(active_BT) if self.gathers and not torch.compiler.is_compiling() else Masked(active_BT)

    def _work(
        self, block: Block, u_BTC: Tensor, layout: GridLayout, want_cls: bool, grid_map: GridMap | None
    ) -> tuple[Tensor, Tensor | None]:
        if self.grad_checkpointing and self.training:
            return checkpoint(run_block_on_grid, block, u_BTC, layout, want_cls, grid_map)  # type: ignore[no-any-return]
        return run_block_on_grid(block, u_BTC, layout, want_cls, grid_map)

    # ---- timm's conventions

    @torch.jit.ignore
    def no_weight_decay(self) -> set[str]:
        return super().no_weight_decay() | {"controller.pause_shift", "controller.restart_shift"}

    def set_input_size(self, *args: Any, **options: Any) -> None:
        super().set_input_size(*args, **options)
        self._draw()

    def _draw(self) -> None:
        if self.tpc.pause == "random":
            self.controller.draw(self.patch_embed.num_patches)

    def prune_intermediate_layers(self, *args: Any, **options: Any) -> list[int]:
        take = super().prune_intermediate_layers(*args, **options)
        for layer in [name for name in self.stabilizer if int(name) >= len(self.blocks)]:
            del self.stabilizer[layer]
        return take

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        groups = super().group_matcher(coarse)
        groups["blocks"] = [*groups["blocks"], (r"^stabilizer\.(\d+)", None)]
        return groups
