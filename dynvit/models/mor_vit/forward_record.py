"""Record of one forward pass through a recursive stack: states, active tokens, scores, router losses."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from dynvit.models.mor_vit.expert_router import masked_mean, selection_loss


@dataclass
class ForwardRecord:
    """Filled layer by layer, with what was asked for only.

    active, scores: per layer bool ``[B, N]`` and the router's scores (None: not routed; -inf: no candidate) of the
    patches in raster order, if ``watched``. states: tokens ``[B, M, C]`` after each layer, if a list was given.
    aux, z: losses of expert routers, one per recursion; their sums are the losses.
    """

    watched: bool = False
    states: list[Tensor] | None = None
    active: list[Tensor] = field(default_factory=list)
    scores: list[Tensor | None] = field(default_factory=list)
    aux: list[Tensor] = field(default_factory=list)
    z: list[Tensor] = field(default_factory=list)

    def add_layers(self, layers: int, active_BN: Tensor, scores_BN: Tensor | None = None) -> None:
        """Append the same active tokens and scores for a number of layers."""
        if self.watched:
            self.active += [active_BN] * layers
            self.scores += [None if scores_BN is None else scores_BN.detach()] * layers

    def add_state(self, x_BMC: Tensor) -> None:
        """Append the tokens after one more layer."""
        if self.states is not None:
            self.states.append(x_BMC)

    def add_router_losses(self, logits_BN: Tensor, selected_BN: Tensor, candidates_BN: Tensor | None = None) -> None:
        """Append the losses of one recursion, means over its candidates (None: all tokens)."""
        self.aux.append(masked_mean(selection_loss(logits_BN, selected_BN), candidates_BN))
        # log-sum-exp over the single logit of a C -> 1 router is the logit itself
        self.z.append(masked_mean(logits_BN.square(), candidates_BN))
