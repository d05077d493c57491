"""Sums over an epoch's training batches, kept on the device, and the check that the loss is finite."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dynvit.train.distributed import ProcessGroup


class NotFinite(FloatingPointError):
    """The training loss became NaN or infinite."""


class EpochMetrics:
    """Loss, auxiliary terms and accuracy of an epoch so far.

    Nothing waits for the device until `check` or `means` is called.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.clear()

    def clear(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.images: dict[str, int] = {}
        self.unchecked: list[tuple[int, dict[str, Tensor]]] = []

    def add(self, step: int, terms: dict[str, Tensor], logits_BK: Tensor, target_B: Tensor) -> None:
        """Add a batch. terms: ``"loss"`` (the total) and the auxiliary ones, scalars."""
        terms = {name: value.detach().double() for name, value in terms.items()}
        self.unchecked.append((step, terms))
        correct = (logits_BK.detach().argmax(1) == target_B).sum().double()
        n = len(target_B)
        for name, total in {**{k: v * n for k, v in terms.items()}, "right": correct}.items():
            self.sums[name] = self.sums[name] + total if name in self.sums else total
            self.images[name] = self.images.get(name, 0) + n

    def check(self, epoch: int) -> None:
        """Raise NotFinite for the first step since the last check whose loss is not finite. epoch counts from 1."""
        if not self.unchecked:
            return
        finite = torch.stack([terms["loss"] for _, terms in self.unchecked]).isfinite().tolist()
        unchecked, self.unchecked = self.unchecked, []
        if all(finite):
            return
        step, terms = unchecked[finite.index(False)]
        values = ", ".join(f"{name} {value.item():.6g}" for name, value in terms.items())
        raise NotFinite(f"the loss is not finite in epoch {epoch}, step {step + 1}: {values}")

    def means(self, group: ProcessGroup | None = None) -> dict[str, float]:
        """Return means over all processes by event key: ``train.loss``, ``train.top1`` (percent), ``loss.<term>``."""
        state = self.state(group)
        mean = {name: total.item() / state["images"][name] for name, total in state["sums"].items()}
        found = {"train.loss": mean.pop("loss"), "train.top1": 100 * mean.pop("right")}
        return found | {f"loss.{name}": value for name, value in mean.items()}

    def state(self, group: ProcessGroup | None = None) -> dict[str, Any]:
        """Return the sums of this process, or of all."""
        mine = {"sums": {name: total.cpu() for name, total in self.sums.items()}, "images": dict(self.images)}
        return mine if group is None or group.world == 1 else merge_states(group.all_gather(mine))

    def load(self, state: dict[str, Any]) -> None:
        self.clear()
        self.sums = {name: total.to(self.device) for name, total in state["sums"].items()}
        self.images = dict(state["images"])


def merge_states(states: list[dict[str, Any]]) -> dict[str, Any]:
    """Add the sums of several processes, in order of rank."""
    whole: dict[str, Any] = {"sums": {}, "images": {}}
    for state in states:
        for kind, totals in whole.items():
            for name, total in state[kind].items():
                totals[name] = totals[name] + total if name in totals else total
    return whole
