"""Options of distillation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from dynvit.config.model import MODEL_FIELD, WEIGHTS_FIELD


@dataclass(frozen=True)
class Teacher:
    """Distillation: the model's own loss with the teacher's logits; a plain model is trained on its soft labels (SReT).

    kind, weight and temperature are for models without a distillation loss of their own.
    """

    model: dict[str, Any] = field(default_factory=lambda: {"name": ""}, metadata=MODEL_FIELD)
    """A timm model name and its options; no name: no teacher."""
    checkpoint: str = field(default="", metadata={**WEIGHTS_FIELD, "model": "model"})
    """Its weights: safetensors or a weights-only pickle; or an arm, `{part: PART, AXIS: LEVEL}`, which is trained first
    and whose model becomes `teacher.model`. It has the token reducer of the trial that left them."""
    pretrained: bool = False
    """Its weights: timm's, from the hub. Their classes must be as many as the data's, or `epochs` train it."""
    epochs: int = 0
    """Epochs for which it is trained first, on the same data with the same options of `train` except `drop_path`."""
    kind: Literal["soft", "hard"] = "soft"
    """Soft: the teacher's probabilities; hard: its most probable class as a label."""
    weight: float = 1.0
    """Weight of the distillation loss; the rest is the weight of the labels."""
    temperature: float = 1.0
    """Softmax temperature of soft labels. The loss is not multiplied by its square."""
    tokens: bool = False
    """Distill its tokens too (DynamicViT's kept patches, LV-ViT's patch labels); needs the same backbone and grid."""
