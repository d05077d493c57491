"""One update of training as a call on images, to be timed in turn with that of another model."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dynvit.interface import interface_of
from dynvit.output import training_loss

LR = 1e-6
"""So small that a model's decisions stay what they are in its first update."""


class TrainingUpdate:
    """Forward and backward pass in train mode with the method's own losses, and a step of AdamW, at the first epoch."""

    def __init__(self, model: nn.Module, classes: int) -> None:
        self.model, self.classes = model.train(), classes
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=LR)
        interface_of(model).set_epoch(0, 1)

    def __call__(self, images: Tensor) -> None:
        """images: ``[B, C, S, S]``; their labels are 0, 1, ... in turn."""
        target_B = torch.arange(len(images), device=images.device) % self.classes
        with torch.enable_grad():
            loss = training_loss(self.model(images), target_B)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
