"""MoR-ViT (reconstructed, arXiv 2507.21761) and the router of its successor Edge-RecViT (reimplemented).

A ViT whose middle layers share weights; a router decides per token how many layers it passes. Two profiles:
``routing="token"`` (each token its depth, chosen once) and ``routing="expert"`` (each recursion its tokens, as in
Mixture-of-Recursions, arXiv 2507.10524). MoR-ViT has no official code and its details are not public: choices that
are ours are options. The backbone is timm's DeiT; finished tokens: ``mor_vit/cached_kv_block.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from timm.models.vision_transformer import init_weights_vit_timm
from torch import Tensor

from dynvit.config.option_checks import check_choices, check_not_negative, check_positive
from dynvit.layers.deit import DEIT_III, DeiT
from dynvit.layers.intermediates import TokenIntermediates
from dynvit.layers.no_dropout import remove_idle_dropout
from dynvit.models.mor_vit import expert_choice, token_choice
from dynvit.models.mor_vit.cached_kv_block import CachedKVBlock
from dynvit.models.mor_vit.depth_router import DepthChoice, DepthRouter, RandomDepth
from dynvit.models.mor_vit.expert_router import ExpertRouter, capacities, kept_tokens
from dynvit.models.mor_vit.forward_record import ForwardRecord
from dynvit.models.mor_vit.loss import routing_losses
from dynvit.models.mor_vit.recursive_stack import BlockOptions, RecursiveStack
from dynvit.models.mor_vit.weight_sharing import make_schedule, shared_state
from dynvit.output import Output
from dynvit.registry import register

VARIANTS: dict[str, dict[str, Any]] = {
    "mor_vit_tiny_patch16_224": {"embed_dim": 192, "num_heads": 3},
    "mor_vit_small_patch16_224": {"embed_dim": 384, "num_heads": 6},
    "mor_vit_base_patch16_224": {"embed_dim": 768, "num_heads": 12},
    "edge_recvit_tiny_patch16_224": {
        "embed_dim": 192, "num_heads": 3, "router": "mlp2", "balance": "switch", "confidence": True,
    },
    "edge_recvit_small_patch16_224": {
        "embed_dim": 384, "num_heads": 6, "router": "mlp2", "balance": "switch", "confidence": True,
    },
    "edge_recvit_base_patch16_224": {
        "embed_dim": 768, "num_heads": 12, "router": "mlp2", "balance": "switch", "confidence": True,
    },
}  # fmt: skip


class MoRViT(TokenIntermediates, DeiT):
    """Vision transformer with shared layers and a token router (reconstructed).

    sharing: which layers share weights (`mor_vit.weight_sharing`).
    recursion: how often shared weights are applied.
    routing: "token" gives each token its depth, "expert" each recursion its tokens; "random" depths; "off" no router.
    router: a linear map, or an MLP of 2 or 3 layers; "mlp" is "mlp2".
    temperature: of the router's softmax, or with expert routing of its sigmoid.
    context: what finished tokens are to attention (`mor_vit.cached_kv_block`).
    cls_depth: least depth of the class token, with token and random routing.
    z_loss: weight of the router's squared log-sum-exp of logits; None: 1e-3 with token routing, 0 with expert routing.
    balance: with token routing, the loss, or bias ("loss_free"), that evens out how often each depth is chosen.
    balance_weight: weight of the balance loss.
    confidence: with token routing, multiply the logits by the router's mean confidence.
    capacity: with expert routing, "linear", a share of the patches, or one share per recursion.
    capacity_warmup: with expert routing, training steps from every token to `capacity`.
    gating: with expert routing, the new state: x + g Block(x), x + Block(x), or Block(x).
    alpha: with expert routing, scale of the gate g.
    aux_loss: with expert routing, weight of the loss that makes a router predict its own selection.
    """

    block_fn = BlockOptions
    withheld_options = DEIT_III

    def __init__(
        self,
        depth: int = 12,
        drop_path_rate: float = 0.0,
        sharing: Literal["none", "cycle", "sequence", "middle_cycle", "middle_sequence"] = "middle_cycle",
        recursion: int = 10,
        routing: Literal["token", "expert", "random", "off"] = "token",
        router: Literal["linear", "mlp", "mlp2", "mlp3"] = "linear",
        temperature: float = 1.0,
        context: Literal["frozen", "active_only", "first_kv"] = "frozen",
        cls_depth: Literal["full", "three_quarters"] = "full",
        z_loss: float | None = None,
        balance: Literal["variance", "switch", "loss_free", "none"] = "variance",
        balance_weight: float = 0.1,
        confidence: bool = False,
        capacity: float | str | Sequence[float] = "linear",
        capacity_warmup: int = 0,
        gating: Literal["weighted", "additive", "replace"] = "weighted",
        alpha: float = 0.1,
        aux_loss: float = 1e-3,
        **backbone: Any,
    ) -> None:
        check_choices(MoRViT.__init__, locals())
        check_positive(depth=depth, temperature=temperature, alpha=alpha)
        check_not_negative(
            z_loss=z_loss or 0.0, balance_weight=balance_weight, aux_loss=aux_loss, capacity_warmup=capacity_warmup
        )
        schedule = make_schedule(sharing, depth, recursion, routed=routing == "expert")
        self.shares = capacities(capacity, recursion)
        super().__init__(depth=len(schedule.weights), **backbone)
        self.routing, self.balance, self.confidence = routing, balance, confidence
        self.weights = {
            "z": (1e-3 if routing == "token" else 0.0) if z_loss is None else z_loss,
            "balance": balance_weight if balance in ("variance", "switch") else 0.0,
            "aux": aux_loss,
        }
        self.static_cost = routing != "token"

        layers = len(schedule.layers)
        drops = [drop_path_rate * i / max(layers - 1, 1) for i in range(layers)]
        # The order of drawing is fixed, so that a seed gives the same weights in every version.
        blocks = [CachedKVBlock(**block.options) for block in self.blocks]
        self.blocks = RecursiveStack(schedule, blocks, context, drops).apply(init_weights_vit_timm)
        remove_idle_dropout(self.blocks)
        info = self.feature_info[0]
        self.feature_info = [{**info, "module": f"blocks.{name}"} for name in schedule.layers]
        floor = depth if cls_depth == "full" else math.ceil(0.75 * depth)
        if routing == "token":
            self.router = DepthRouter(self.embed_dim, depth, layers, router, temperature, floor, balance == "loss_free")
        elif routing == "random":
            self.router = RandomDepth(depth, layers, floor, 1 + self.patch_embed.num_patches)
        elif routing == "expert":
            self.router = ExpertRouter(self.embed_dim, len(schedule.routed), router, alpha, temperature, gating)
            if capacity_warmup:
                self.register_buffer("warmup_step", torch.zeros((), dtype=torch.int64))
        self.capacity_warmup = capacity_warmup

    def set_step(self, step: int) -> None:
        """Place in the capacity warm-up; otherwise each training forward counts as a step."""
        if self.capacity_warmup and self.routing == "expert":
            self.warmup_step.fill_(step)

    def end_step(self) -> None:
        """Move the bias of loss-free balancing by the depths chosen in this step."""
        if self.routing == "token":
            self.router.follow_load()

    @property
    def at_final_operating_point(self) -> bool:
        warming = self.capacity_warmup and self.routing == "expert"
        return not warming or self.warmup_step.item() >= self.capacity_warmup

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        self.grad_checkpointing = self.blocks.grad_checkpointing = enable

    def forward(self, images: Tensor) -> Tensor | Output:
        """Logits ``[B, K]``; in training with a router an ``Output`` with its losses and ``extra["depth"]`` [B, N]."""
        x_BMC, choice, record = self._propagate(images)
        logits = self.forward_head(self._finish(x_BMC, choice))
        if not self.training or self.routing == "off":
            return logits
        losses = routing_losses(choice, record, self.balance)
        losses = {name: loss for name, loss in losses.items() if self.weights[name]}
        extra = {"depth": sum(active_BN.int() for active_BN in record.active)}
        if self._scales_logits:
            extra["confidence"] = choice.confidence_B
        return Output(logits, losses, extra, {name: self.weights[name] for name in losses})

    def _features(self, images: Tensor, states: list[Tensor] | None = None) -> Tensor:
        """Normalized tokens ``[B, 1 + N, C]`` in raster order, class token first.

        With `confidence` the factor of the logits is the tensor's attribute ``confidence_B``, for `forward_head`.
        """
        return self._finish(*self._propagate(images, states)[:2])

    def forward_head(self, x_BMC: Tensor, pre_logits: bool = False) -> Tensor:
        logits = super().forward_head(x_BMC, pre_logits)
        if pre_logits or not self.num_classes or not self._scales_logits:
            return logits
        confidence_B = getattr(x_BMC, "confidence_B", None)
        if confidence_B is None:
            raise ValueError("with confidence, forward_head takes the tensor that forward_features returned")
        return logits * confidence_B.view(-1, *[1] * (logits.ndim - 1)).to(logits.dtype)

    def _finish(self, x_BMC: Tensor, choice: DepthChoice | None) -> Tensor:
        x_BMC = self.norm(x_BMC)
        if self._scales_logits:
            x_BMC.confidence_B = choice.confidence_B
        return x_BMC

    @property
    def _scales_logits(self) -> bool:
        return self.confidence and self.routing == "token"

    def _propagate(
        self, images: Tensor, states: list[Tensor] | None = None
    ) -> tuple[Tensor, DepthChoice | None, ForwardRecord]:
        """Tokens after the last layer. states: filled with those after each layer, which needs masked execution."""
        x_BMC = self._pos_embed(self.patch_embed(images))
        record = ForwardRecord(watched=self.training or self.trace is not None, states=states)
        masked = self.execution == "masked" or states is not None
        choice = None
        if self.routing == "expert":
            run = expert_choice.run_masked if masked else expert_choice.run_gathered
            x_BMC = run(self.blocks, self.router, x_BMC, self._kept(x_BMC.shape[1] - 1), record)
        elif self.routing == "off":
            x_BMC = token_choice.run_plain(self.blocks, x_BMC, record)
        else:
            choice = self.router(x_BMC)
            dense = masked or self.training or torch.compiler.is_compiling()  # gathered shapes depend on the images
            run = token_choice.run_masked if dense else token_choice.run_gathered
            x_BMC = run(self.blocks, x_BMC, choice, record)
        if self.trace is not None:
            for active_BN, scores_BN in zip(record.active, record.scores, strict=True):
                self.trace.record(active_BN, scores_BN)
        return x_BMC, choice, record

    def _kept(self, tokens: int) -> tuple[int, ...]:
        """k_r of this forward pass."""
        if not self.capacity_warmup:
            return kept_tokens(self.shares, tokens)
        progress = self.warmup_step.item() / self.capacity_warmup
        if self.training:
            self.warmup_step += 1
        return kept_tokens(self.shares, tokens, progress)

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        layers = [(r"^blocks\.(\d+)", None), (r"^blocks\.head", (-1,)), (r"^blocks\.shared\.(\d+)", None)]
        layers += [(r"^blocks\.tail", (99998,)), (r"^norm", (99999,))]
        return {**super().group_matcher(coarse), "blocks": layers}

    def set_input_size(self, *args: Any, **options: Any) -> None:
        super().set_input_size(*args, **options)
        if self.routing == "random":
            self.router.draw(1 + self.patch_embed.num_patches)

    def prune_intermediate_layers(self, *args: Any, **options: Any) -> list[int]:
        take = super().prune_intermediate_layers(*args, **options)
        if self.routing == "expert":
            self.router.nets = self.router.nets[: len(self.blocks.schedule.routed)]
        return take

    def convert_trunk(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """timm DeiT -> ours: ends from the ends, shared layers from evenly spaced ones (12 layers: 0, 6, 11)."""
        return super().convert_trunk(shared_state(state_dict, self.blocks.schedule))

    def convert_official(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Without sharing and router the model is DeiT, names included; MoR-ViT itself published nothing to load."""
        if self.blocks.schedule.weights[0] != "0":
            raise ValueError("MoR-ViT has no official checkpoint; use dynvit.load_trunk with DeiT weights")
        return dict(state_dict)


register(MoRViT, VARIANTS)
