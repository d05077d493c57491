"""The options of TPC-ViT, the same on every backbone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dynvit.config.option_checks import check_not_negative


@dataclass(frozen=True)
class TPCOptions:
    """Controller, stabilizer and loss weights; ``timm.create_model`` takes each field as an option."""

    pause: bool | Literal["random", "attention"] = True
    """False: dense, stabilizer only. "random", "attention" (lowest class attention): at the controller's rate."""
    restart: bool = True
    """False: the restart probability is 0."""
    smoothing: Literal["none", "spatial", "prior", "both"] = "both"
    """Blur of the probabilities over the grid ("spatial"), loss on the depths at which tokens pause ("prior")."""
    stabilizer: Literal["off", "dw_pre", "dw_mlp", "peg_once"] = "dw_pre"
    """Depthwise convolution: in front of each block, inside its MLP, or once after the first block."""
    keep_rate: float | None = None
    """Share of patch tokens that every layer after the first keeps; None: by threshold."""
    score: Literal["channel", "linear", "cls_attention"] = "channel"
    """What the probabilities are computed from: a token's first channels, a linear map, or its class attention."""
    score_scale: float = 1.0
    """Factor of the score in front of the sigmoid."""
    pause_offset: float = -3.0
    """Added to the pause score in front of the sigmoid; the learned shift starts at 0."""
    restart_offset: float = 0.0
    """Added to the restart score in front of the sigmoid; the learned shift starts at 0."""
    threshold: float = 0.5
    """Without a keep rate: a token is active while its probability of being active is at least this."""
    terminate: bool = False
    """Pause a token for good once its summed break probabilities reach 1 - eps."""
    eps: float = 0.01
    """Margin of `terminate`."""
    smooth_strength: float = 0.5
    """Share of the blurred map in the spatial smoothing."""
    smooth_sigma: float = 1.0
    """Standard deviation of the 3 x 3 blur, in tokens."""
    depth_ema: float = 0.0
    """Share of the layer before in the average of the probabilities over depth; 0: none."""
    ponder_weight: float = 5e-4
    """Weight of the mean active probability, summed over layers, without a keep rate."""
    prior_weight: float = 1e-3
    """Weight of the prior over depth."""
    budget_weight: float = 2.0
    """Weight of the squared distance of a layer's mean active probability from the keep rate."""
    distill_weight: float = 0.0
    """Weight of the KL divergence from the teacher's logits; more than 0 needs a teacher."""

    def __post_init__(self) -> None:
        def check(name: str, fine: bool, rule: str) -> None:
            if not fine:
                raise ValueError(f"{name} must be {rule}, got {getattr(self, name)!r}")

        check("pause", isinstance(self.pause, bool) or self.pause in ("random", "attention"), "true, false, "
              "'random' or 'attention'")  # fmt: skip
        check("smoothing", self.smoothing in ("none", "spatial", "prior", "both"), "none, spatial, prior or both")
        check("score", self.score in ("channel", "linear", "cls_attention"), "channel, linear or cls_attention")
        check("keep_rate", self.keep_rate is None or 0 < self.keep_rate <= 1, "None or in (0, 1]")
        check("threshold", 0 < self.threshold <= 1, "in (0, 1]")
        check("eps", 0 <= self.eps < 1, "in [0, 1)")
        check("smooth_strength", 0 <= self.smooth_strength <= 1, "in [0, 1]")
        check("smooth_sigma", self.smooth_sigma > 0, "positive")
        check("depth_ema", 0 <= self.depth_ema < 1, "in [0, 1)")
        weights = ("ponder_weight", "prior_weight", "budget_weight", "distill_weight")
        check_not_negative(**{name: getattr(self, name) for name in weights})

    @property
    def spatial(self) -> bool:
        return self.smoothing in ("spatial", "both")

    @property
    def prior(self) -> bool:
        return self.smoothing in ("prior", "both")


DEFAULTS = TPCOptions()
