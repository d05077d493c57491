"""TPC-ViT on Swin, reconstructed: tokens are paused and restarted by a controller, never deleted.

Paper: arXiv 2401.01470 (no official code). Each stage has a controller and a chain of its own that starts with every
token active; the dense grid survives, so windows, shifts and patch merging find carried tokens in their places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from timm.models import checkpoint
from timm.models.swin_transformer import SwinTransformer, checkpoint_filter_fn
from torch import Tensor, nn

from dynvit.layers.intermediates import PyramidIntermediates
from dynvit.layers.token_layout import Dense, GridLayout, Masked, Packed
from dynvit.models.tpc_vit.controller import Controller, PropagationState, TokenSelection
from dynvit.models.tpc_vit.loss import training_output
from dynvit.models.tpc_vit.markov_chain import gate
from dynvit.models.tpc_vit.mixin import PropagationMixin
from dynvit.models.tpc_vit.options import DEFAULTS, TPCOptions
from dynvit.models.tpc_vit.swin_windows import attention_received, run_swin_block
from dynvit.output import Output
from dynvit.registry import register

VARIANTS: dict[str, dict[str, Any]] = {
    "tpc_swin_tiny_patch4_window7_224": {"embed_dim": 96, "depths": (2, 2, 6, 2), "num_heads": (3, 6, 12, 24)},
    "tpc_swin_small_patch4_window7_224": {"embed_dim": 96, "depths": (2, 2, 18, 2), "num_heads": (3, 6, 12, 24)},
    "tpc_swin_base_patch4_window7_224": {"embed_dim": 128, "depths": (2, 2, 18, 2), "num_heads": (4, 8, 16, 32)},
}


class TPCSwin(PyramidIntermediates, PropagationMixin, SwinTransformer):
    """Swin with token propagation controllers and stabilizer (reconstructed); names of the backbone as in timm.

    Options as in ``TPCViT``; `keep_rate` counts the layers of each stage after its first. There is no class token:
    "attention" and "cls_attention" mean the attention that a token gets from the active ones of its window.

    depths: blocks of each stage. window_size: side of a window in tokens.
    """

    classifier_name, first_conv = "head.fc", "patch_embed.proj"

    def __init__(
        self,
        img_size: int | tuple[int, int] = 224,
        patch_size: int = 4,
        in_chans: int = 3,
        num_classes: int = 1000,
        embed_dim: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        window_size: int = 7,
        mlp_ratio: float = 4.0,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        options: TPCOptions = DEFAULTS,
    ) -> None:
        check_stages(embed_dim, depths, num_heads)
        super().__init__(
            img_size=img_size, patch_size=patch_size, in_chans=in_chans, num_classes=num_classes, embed_dim=embed_dim,
            depths=tuple(depths), num_heads=tuple(num_heads), window_size=window_size, mlp_ratio=mlp_ratio,
            drop_rate=drop_rate, drop_path_rate=drop_path_rate,
        )  # fmt: skip
        widths = [embed_dim * 2**stage for stage in range(len(depths))]
        each = [width for width, depth in zip(widths, depths, strict=True) for _ in range(depth)]
        self._control(options, each, mlp_ratio)
        self.stabilizer = named_by_stage(self.stabilizer, depths)
        pairs = zip(depths, widths, strict=True)
        self.controllers = nn.ModuleList(Controller(d, w, options) for d, w in pairs) if options.pause else None
        self._draw()

    def forward(self, images: Tensor) -> Tensor | Output:
        """Logits ``[B, K]``; in training an ``Output`` with the losses where pausing or distillation is on."""
        maps, chains = self._propagate(images, len(self.layers))
        logits = self.forward_head(self.norm(maps[-1]))
        return training_output(logits, chains, self.tpc) if self.training else logits

    def forward_features(self, images: Tensor) -> Tensor:
        """Normalized map ``[B, H, W, C]`` of the last stage."""
        return self.norm(self._propagate(images, len(self.layers))[0][-1])

    def received_attention(self, images: Tensor) -> list[Tensor]:
        """Per layer ``[B, N]``: how much each token would be looked at if all were active, carried ones included."""
        seen: list[Tensor] = []
        self._propagate(images, len(self.layers), seen)
        return seen

    def _propagate(
        self, images: Tensor, stages: int, seen: list[Tensor] | None = None
    ) -> tuple[list[Tensor], list[PropagationState]]:
        """The map ``[B, H, W, C]`` after each stage, and the chains."""
        x_BHWC = self.patch_embed(images)
        maps: list[Tensor] = []
        chains: list[PropagationState] = []
        for number, stage in enumerate(self.layers[:stages]):
            x_BHWC = stage.downsample(x_BHWC)
            grid, x_BNC, chain = tuple(x_BHWC.shape[1:3]), x_BHWC.flatten(1, 2), None
            if self.controllers is not None:
                before = chains[-1] if chains else None
                chain = self.controllers[number].start(x_BNC.shape[0], grid, x_BNC, before)
                chains.append(chain)
            for layer in range(len(stage.blocks)):
                x_BNC = self._layer(number, layer, x_BNC, grid, chain, seen)
            x_BHWC = x_BNC.unflatten(1, grid)
            maps.append(x_BHWC)
        return maps, chains

    def _layer(
        self, stage: int, layer: int, x_BNC: Tensor, grid: tuple[int, int], chain: PropagationState | None,
        seen: list[Tensor] | None = None,
    ) -> Tensor:  # fmt: skip
        """The state after a layer of a stage, from the state before it."""
        block = self.layers[stage].blocks[layer]
        u_BNC, grid_map = self._stabilize(f"{stage}_{layer}", x_BNC, grid, prefix=0)
        if seen is not None:
            seen.append(attention_received(block, u_BNC, grid))
        if chain is None:
            self._record(x_BNC)
            return self._work(stage, block, u_BNC, grid, Dense(), None, False, grid_map)[0]
        controller = self.controllers[stage]
        selection = controller.select(chain, lambda: attention_received(block, u_BNC, grid))
        self._record(x_BNC, selection, chain.pi_BN)
        layout, needed = self._layout(selection), self._observes(stage, layer)
        row_BN: Tensor | None = torch.zeros_like(chain.pi_BN)
        if not isinstance(layout, Packed) or layout.flat_F.shape[0]:  # else no token of the batch is active
            asked = controller.reads_attention and needed
            y, row_BN = self._work(stage, block, u_BNC, grid, layout, selection.active_BN, asked, grid_map)
            if self.training and layer:
                x_BNC = gate(x_BNC, y, layout.keys, chain.pi_BN)
            else:
                x_BNC = layout.scatter(x_BNC, y)
        if needed:
            controller.observe(chain, x_BNC, row_BN)
        return x_BNC

    def _observes(self, stage: int, layer: int) -> bool:
        """Scores after the last layer of a stage serve the prior, and what the next stage inherits."""
        inherits = self.controllers[stage].remembers and stage + 1 < len(self.layers)
        return self.training or inherits or layer + 1 < len(self.layers[stage].blocks)

    def _layout(self, selection: TokenSelection) -> GridLayout:
        if selection.active_BN is None:
            return Dense()
        if not self.gathers or (selection.index_BK is None and torch.compiler.is_compiling()):
            return Masked(selection.active_BN)
        batch, tokens = selection.active_BN.shape
        if selection.index_BK is None:
            return Packed(selection.active_BN.reshape(-1).nonzero()[:, 0], batch)
        first_B1 = torch.arange(batch, device=selection.index_BK.device)[:, None] * tokens
        return Packed((selection.index_BK + first_B1).reshape(-1), batch)

    def _work(self, stage: int, *arguments: Any) -> tuple[Tensor, Tensor | None]:
        if self.layers[stage].grad_checkpointing and self.training:
            return checkpoint(run_swin_block, *arguments)  # type: ignore[no-any-return]
        return run_swin_block(*arguments)

    # ---- timm's conventions

    def _num_stages(self) -> int:
        return len(self.layers)

    def _maps(self, images: Tensor, last: int) -> list[Tensor]:
        return self._propagate(images, last + 1)[0]

    def _norm_map(self, final: Tensor) -> Tensor:
        return self.norm(final)

    def _nchw(self, stage_map: Tensor, stage: int) -> Tensor:
        return stage_map.permute(0, 3, 1, 2).contiguous()

    def set_input_size(self, *args: Any, **options: Any) -> None:
        super().set_input_size(*args, **options)
        self._draw()

    def _draw(self) -> None:
        rows, columns = self.grid
        for controller in self.controllers if self.tpc.pause == "random" else ():
            controller.draw(rows * columns)
            rows, columns = (rows + 1) // 2, (columns + 1) // 2

    def prune_intermediate_layers(self, *args: Any, **options: Any) -> list[int]:
        take = SwinTransformer.prune_intermediate_layers(self, *args, **options)
        for layer in [name for name in self.stabilizer if int(name.split("_")[0]) >= len(self.layers)]:
            del self.stabilizer[layer]
        if self.controllers is not None:
            self.controllers = self.controllers[: len(self.layers)]
        return take

    @torch.jit.ignore
    def no_weight_decay(self) -> set[str]:
        shifts = {name for name, _ in self.named_parameters() if name.endswith(("pause_shift", "restart_shift"))}
        return super().no_weight_decay() | shifts

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        groups = super().group_matcher(coarse)
        own = (r"^stabilizer\.(\d+)_" if coarse else r"^stabilizer\.(\d+)_(\d+)", None)
        groups["blocks"] = [*([(groups["blocks"], None)] if coarse else groups["blocks"]), own]
        return groups

    def convert_trunk(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """timm's or the official Swin -> ours: timm's own names; tables of other windows are resampled."""
        return checkpoint_filter_fn(dict(state_dict), self)  # type: ignore[no-any-return]


def check_stages(embed_dim: int, depths: Sequence[int], num_heads: Sequence[int]) -> None:
    if not depths or len(depths) != len(num_heads) or any(d < 1 for d in depths):
        raise ValueError(f"depths and num_heads are one positive number per stage, got {depths} and {num_heads}")
    for stage, heads in enumerate(num_heads):
        if embed_dim * 2**stage % heads:
            raise ValueError(f"width {embed_dim * 2**stage} of stage {stage} is not a multiple of num_heads {heads}")


def named_by_stage(convolutions: nn.ModuleDict, depths: Sequence[int]) -> nn.ModuleDict:
    """From layer numbers to ``stage_layer``, so that layer-wise learning rates treat each as its block."""
    names = [f"{stage}_{layer}" for stage, depth in enumerate(depths) for layer in range(depth)]
    return nn.ModuleDict({names[int(number)]: module for number, module in convolutions.items()})


register(TPCSwin, VARIANTS)
