"""The teacher of a distilled training: a frozen model whose logits stand beside, or in place of, the labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dynvit.context import Stopped
from dynvit.models.build import fitted
from dynvit.output import cross_entropy
from dynvit.rng import seed_globally
from dynvit.train.optimizer import optimiser, scheduler

if TYPE_CHECKING:
    from dynvit.train.training import Training


class TeacherError(ValueError):
    """A teacher that cannot teach: no weights, or another number of classes."""


class Teacher:
    """Evaluation mode, no gradients. Its weights come from a file, timm's hub, or a short training of its own."""

    def __init__(self, training: Training) -> None:
        told = training.config.teacher
        if not (told.checkpoint or told.pretrained or told.epochs):
            raise TeacherError(
                f"the teacher {told.model['name']} knows nothing: give teacher.checkpoint, teacher.pretrained or "
                "teacher.epochs (to train it first)"
            )
        seed_globally(training.context.seed, "teacher")
        options = {**told.model, "pretrained": True} if told.pretrained else told.model
        self.model = fitted(options, training.data, 0.0).to(training.device)
        if told.checkpoint:
            read_weights(self.model, Path(told.checkpoint).expanduser())
        self.ready = not told.epochs
        self.tokens = told.tokens
        self.freeze()

    def freeze(self) -> None:
        self.model.eval().requires_grad_(False)

    def sit_in(self, student: nn.Module) -> None:
        """A student that looks at its teacher's tokens runs it itself, beside its own forward pass (DynamicViT)."""
        if self.tokens and hasattr(student, "set_teacher"):
            student.set_teacher(self.model)
            self.asked = False

    asked = True
    """Whether its answers go to the loss; a student that runs it has them already."""

    def logits(self, x_BCSS: Tensor) -> Tensor | None:
        """``[B, K]`` for the images the student sees; ``[B, N, K]``, one per patch, where its tokens teach."""
        if not self.asked:
            return None
        with torch.no_grad():
            if self.tokens:
                return self._patches(x_BCSS)
            output: Tensor = self.model(x_BCSS)
        return output

    def _patches(self, x_BCSS: Tensor) -> Tensor:
        features_BTC = self.model.forward_features(x_BCSS)
        if features_BTC.ndim != 3:
            raise TeacherError(f"teacher.tokens: {type(self.model).__name__} has no tokens")
        head = getattr(self.model, "aux_head", None) or self.model.get_classifier()
        logits_BNK: Tensor = head(features_BTC[:, getattr(self.model, "num_prefix_tokens", 0) :])
        return logits_BNK

    def prepare(self, training: Training) -> None:
        """Train it on the student's data with the student's recipe over `teacher.epochs`; once."""
        if self.ready:
            return
        epochs = training.config.teacher.epochs
        recipe = replace(
            training.config.train, epochs=epochs, warmup_epochs=min(training.config.train.warmup_epochs, 1)
        )
        self.model.train().requires_grad_(True)
        optimizer = optimiser(self.model, recipe)
        schedule = scheduler(optimizer, recipe, training.data.steps)
        seed_globally(training.context.seed, "teacher")
        update = 0
        for epoch in range(epochs):
            for x_BCSS, target_B in training.data.train(epoch, 0):
                loss = cross_entropy(self.model(x_BCSS), target_B, recipe.label_smoothing)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                update += 1
                schedule.step_update(update)
                if training.context.stopping:
                    raise Stopped(f"while the teacher was in epoch {epoch + 1} of {epochs}; it starts over")
        self.freeze()
        self.ready = True
        training.context.say(f"teacher {training.config.teacher.model['name']} trained for {epochs} epochs")

    def state(self) -> dict[str, Tensor]:
        """For the student's checkpoint: a teacher trained here is not trained twice."""
        return dict(self.model.state_dict())

    def load(self, state: dict[str, Tensor]) -> None:
        self.model.load_state_dict(state)
        self.ready = True
        self.freeze()


def read_weights(model: nn.Module, file: Path) -> None:
    """A state dict from safetensors or a weights-only pickle; TeacherError where it is of another model."""
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file

        state: dict[str, Any] = load_file(file)
    else:
        state = torch.load(file, map_location="cpu", weights_only=True)
        state = state.get("model", state.get("state_dict", state))
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise TeacherError(f"{file} does not fit the teacher {type(model).__name__}: {error}") from error
