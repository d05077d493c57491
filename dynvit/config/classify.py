"""Config of the task `classify`: one training and its measurements."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dynvit.config.data import Data
from dynvit.config.evaluation import Evaluation
from dynvit.config.model import LOSS_FIELD, MODEL_FIELD, REDUCER_FIELD, WEIGHTS_FIELD
from dynvit.config.rules import loss_error, refusals
from dynvit.config.source import Source
from dynvit.config.teacher import Teacher
from dynvit.config.train import Train


@dataclass(frozen=True)
class Config:
    """One trial. model: a timm model name and that model's options."""

    model: dict[str, Any] = field(default_factory=lambda: {"name": "vit_tiny_patch16_224"}, metadata=MODEL_FIELD)
    data: Data = field(default_factory=Data)
    train: Train = field(default_factory=Train)
    teacher: Teacher = field(default_factory=Teacher)
    evaluation: Evaluation = field(default_factory=Evaluation)
    source: Source = field(default_factory=Source)
    reducer: dict[str, Any] = field(default_factory=lambda: {"name": ""}, metadata=REDUCER_FIELD)
    """A token reducer for the model, in training and evaluation: name and options of `dynvit.reduce`; no name: none.
    Its speed is measured in turn with the model that keeps all its tokens."""
    keep_checkpoint: bool = False
    """Leave the final checkpoint, last.safetensors and best.safetensors: timm.create_model(checkpoint_path=...)."""
    init: str = field(default="", metadata=WEIGHTS_FIELD)
    """Initial weights: `timm` (the model's or its backbone's, from the hub), a file of the model or of its backbone,
    `official FILE` with the authors' names, a trial's folder, all identified by their path; or an arm,
    `{part: PART, AXIS: LEVEL}`, which is trained first."""
    recipe: str = field(default="", metadata={"kind": "recipe"})
    """A preset, dynvit/recipes/NAME.yaml; every other setting overrides it."""
    loss: dict[str, Any] = field(default_factory=dict, metadata=LOSS_FIELD)
    """What the labels are trained with in the place of cross entropy: name and options of a `dynvit.register_loss`;
    empty: cross entropy. A model's own terms and a teacher's stay; validation reports cross entropy."""

    @property
    def given_weights(self) -> str:
        """What the training starts from; empty: random weights."""
        return self.init

    def __post_init__(self) -> None:
        found = [*refusals(self.data, self.train, self.teacher, self.evaluation, self.source), loss_error(self.loss)]
        if wrong := "\n".join(filter(None, found)):
            raise ValueError(wrong)
