"""Options of a training: schedule, optimizer, regularization, precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Mix:
    """timm's Mixup and CutMix: an image and its label are mixed with those at the mirrored position in the batch."""

    mixup: float = 0.0
    """Alpha of Mixup; 0: off."""
    cutmix: float = 0.0
    """Alpha of CutMix; 0: off."""
    prob: float = 1.0
    """Probability of mixing."""
    switch: float = 0.5
    """Probability of CutMix where both are on."""
    mode: Literal["batch", "pair", "elem"] = "batch"
    """What each random draw is for: a batch, a pair of images, or an image."""
    off_epoch: int | None = None
    """From this epoch on, counted from 0, images are not mixed; None: always mixed."""


@dataclass(frozen=True)
class Train:
    """How the model is trained. With the defaults a 64-wide, 6-layer ViT reaches 97 % on digits in 15 CPU seconds."""

    epochs: int = 15
    """Passes over the training images."""
    batch_size: int = 32
    """Images per optimizer step, over all processes."""
    lr: float = 2e-3
    """Peak learning rate."""
    lr_batch: int = 0
    """Batch size that `lr` is meant for; 0: `batch_size`."""
    lr_scaling: Literal["none", "linear"] = "none"
    """linear: lr times batch_size / lr_batch."""
    min_lr: float = 1e-5
    """Learning rate at the end of the schedule."""
    warmup_lr: float = 1e-5
    """Learning rate at the start of the warm-up."""
    warmup_epochs: int = 2
    """Epochs in which the learning rate grows to `lr`."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Learning rate schedule after the warm-up."""
    optimizer: Literal["adamw", "adam", "sgd", "lamb", "lion"] = "adamw"
    """timm's optimizer of that name."""
    weight_decay: float = 0.05
    """Weight decay; biases and norms have none."""
    betas: Sequence[float] = (0.9, 0.999)
    """Betas of the Adam family."""
    momentum: float = 0.9
    """Momentum of sgd."""
    clip_grad: float | None = None
    """Limit of clipping (see `clip_mode`); None: no clipping."""
    clip_mode: Literal["norm", "adaptive"] = "norm"
    """Limit the gradient's norm, or adaptively each unit's, as a share of the norm of its weights."""
    layer_decay: float | None = None
    """Learning rate of a layer over that of the next one."""
    mix: Mix = field(default_factory=Mix)
    label_smoothing: float = 0.0
    """Label smoothing of the cross entropy."""
    drop_path: float = 0.0
    """Stochastic depth: rate of the last block."""
    ema: float = 0.0
    """Decay of a moving average of the weights, such as 0.9999; 0: off. `evaluation.weights` selects it."""
    ema_warmup: bool = False
    """Let the decay grow from 0, for short trainings."""
    accumulate: int = 1
    """Parts of a batch that are computed one after another: less memory. The update is the same up to rounding, except
    with batch normalization, losses over a batch, and random numbers (docs/architecture.md)."""
    amp: Literal["auto", "off", "bfloat16", "float16"] = "auto"
    """auto: bfloat16 on a GPU that has it. float16 comes with a loss scale."""
    channels_last: bool = False
    """Memory format of images and convolutions."""
    compile: bool = False
    """torch.compile of the training pass."""
    deterministic: bool = True
    """Use deterministic algorithms only."""

    @property
    def peak_lr(self) -> float:
        """The learning rate for the batch size that is used."""
        return self.lr * self.batch_size / self.lr_batch if self.lr_scaling == "linear" else self.lr
