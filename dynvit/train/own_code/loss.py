"""The loss of own code in a training (`dynvit.register_loss`): built, tried before anything is trained, called."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynvit.config.classify import Config
from dynvit.config.extensions import LOSSES, VERSION
from dynvit.plugins.modules import blame
from dynvit.rng import own_stream

TRIED = 8
"""Images of the batch that a loss is tried with."""


class OwnLoss:
    """Called as `dynvit.output.cross_entropy` is. With label smoothing the target becomes probabilities."""

    def __init__(self, options: Mapping[str, Any], device: str) -> None:
        self.name = options["name"]
        given = {key: value for key, value in options.items() if key != "name"}
        registered = LOSSES[self.name]
        self.function: Any = registered.make
        if not registered.factory:
            self.call: Any = partial(registered.make, **given)
            return
        self.call = registered.make(**given)
        if not callable(self.call):
            raise ValueError(f"the loss {self.name} returned {type(self.call).__name__}, nothing that can be called")
        if isinstance(self.call, nn.Module):
            self.function = type(self.call).forward
            self.call.to(device)
            if any(p.requires_grad for p in self.call.parameters()):
                raise ValueError(f"the loss {self.name} has parameters of its own, which nothing would train")

    def __call__(self, logits: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
        if label_smoothing and target.ndim == 1:
            share = label_smoothing / logits.shape[-1]
            target = F.one_hot(target, logits.shape[-1]).to(logits.dtype) * (1 - label_smoothing) + share
        return self._one_number(self.call(logits, target))

    def _one_number(self, value: Any) -> Tensor:
        if not isinstance(value, Tensor) or value.ndim:
            found = f"a tensor {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"the loss {self.name} returned {found}, not one number (such as its mean over the batch)")
        return value

    def try_out(self, classes: int, soft: bool, device: str) -> None:
        """Raise ValueError if the loss fails on random logits, or has no gradient. soft: target is probabilities."""
        with own_stream(0, "loss"), torch.enable_grad():
            logits = torch.randn(TRIED, classes).to(device).requires_grad_()
            target = torch.randint(0, classes, (TRIED,)).to(device)
            label = F.one_hot(target, classes).to(logits.dtype) if soft else target
            try:
                returned = self.call(logits, label)
            except Exception as error:
                kind = f"probabilities [{TRIED}, {classes}], as with mixup, cutmix or label smoothing" if soft else (
                    f"logits [{TRIED}, {classes}] and classes [{TRIED}]"
                )  # fmt: skip
                raise ValueError(f"the loss {self.name} fails for {kind}: {blame(self.function, error)}") from error
        if not self._one_number(returned).requires_grad:
            raise ValueError(f"the loss {self.name} has no gradient: nothing would be trained")


def build_loss(config: Config, classes: int, device: str) -> OwnLoss | None:
    """Return the loss of a config, tried out; None: cross entropy. Raises ValueError if it cannot be used."""
    if not config.loss:
        return None
    try:
        loss = OwnLoss(config.loss, device)
    except ValueError:
        raise
    except Exception as error:
        text = blame(LOSSES[config.loss["name"]].signature_of, error)
        raise ValueError(f"the loss {config.loss['name']} cannot be built: {text}") from error
    mix, smoothing = config.train.mix, config.train.label_smoothing
    soft = bool(mix.mixup or mix.cutmix or smoothing)
    loss.try_out(classes, soft, device)
    if soft and not smoothing and (mix.prob < 1 or mix.off_epoch is not None):  # some batches are not mixed
        loss.try_out(classes, False, device)
    return loss


def loss_fault(config: Config, classes: int) -> str:
    """Return why the loss of a config cannot be used, for planning; empty if it can."""
    mix, smoothing = config.train.mix, config.train.label_smoothing
    key = json.dumps([config.loss, bool(mix.mixup or mix.cutmix or smoothing), classes], sort_keys=True)
    if not config.loss:
        return ""
    if (key, VERSION.number) not in _FAULTS:
        try:
            build_loss(config, classes, "cpu")
            _FAULTS[key, VERSION.number] = ""
        except ValueError as error:
            _FAULTS[key, VERSION.number] = str(error)
    return _FAULTS[key, VERSION.number]


_FAULTS: dict[tuple[str, int], str] = {}
