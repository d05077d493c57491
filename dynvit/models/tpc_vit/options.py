"""The options of TPC-ViT, the same on every backbone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dynvit.layers.option_checks import check_not_negative


@dataclass(frozen=True)
class TPCOptions:
    """Controller, stabilizer and loss weights; ``timm.create_model`` takes each field as an option."""

    pause: bool | Literal["random", "attention"] = True
    """False: dense, stabilizer only. "random", "attention" (lowest class attention): at the controller's rate."""
    restart: bool = True
    """False: the restart probability is 0."""
    smoothing: Literal["none", "spatial", "prior", "both"] = "both"
    stabilizer: Literal["off", "dw_pre", "dw_mlp", "peg_once"] = "dw_pre"
    keep_rate: float | None = None
    """Share of patch tokens that every layer after the first keeps; None: by threshold."""
    score: Literal["channel", "linear", "cls_attention"] = "channel"
    score_scale: float = 1.0
    pause_offset: float = -3.0
    restart_offset: float = 0.0
    threshold: float = 0.5
    terminate: bool = False
    eps: float = 0.01
    smooth_strength: float = 0.5
    smooth_sigma: float = 1.0
    depth_ema: float = 0.0
    ponder_weight: float = 5e-4
    prior_weight: float = 1e-3
    budget_weight: float = 2.0
    distill_weight: float = 0.0

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
