"""`classify` in float64, so that curves of one and of several processes can be compared; one of them may be killed."""

from __future__ import annotations

import os
import signal
from dataclasses import asdict, dataclass, field, replace
from typing import Any

REVISION = 1
SMOKE: dict[str, Any] = {}


@dataclass(frozen=True)
class Config:
    """The parts of classify's config, as plain mappings."""

    model: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    source: dict[str, Any] = field(default_factory=dict)
    kill_rank: int = -1
    kill_at: tuple[int, ...] = (6,)
    """This one dies at its n-th look at `should_stop`: one number for each attempt that it ends."""
    keep_checkpoint: bool = False


def run(config: Config, context: Any) -> dict[str, Any]:
    import torch

    from dynvit.tasks import classify
    from dynvit.train import loop

    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    given = asdict(config)
    data = {"image_size": 8, "limit": 192, "val_limit": 60, "augment": classify.Augment(shift=1), **given["data"]}
    train = {"epochs": 2, "batch_size": 32, "warmup_epochs": 1, "lr": 1e-2, "clip_grad": 1.0, **given["train"]}
    train["mix"] = classify.Mix(**train.get("mix", {}))
    evaluation = classify.Evaluation(batch_size=16, traced_images=32, counted_images=2, timed_batches=1)
    whole = classify.Config(
        given["model"], classify.Data(**data), classify.Train(**train), classify.Teacher(), evaluation
    )
    attempt = len(list((context.folder / "attempts").iterdir())) - 1
    if config.kill_rank == getattr(context, "rank", 0) and attempt < len(config.kill_at):
        context = _Deadly(context, config.kill_at[attempt])
    if given["source"]:
        source = classify.Source(given["source"]["epochs"], classify.Data(**{**data, **given["source"]["data"]}))
        return classify.run(replace(whole, source=source), context)
    update = loop.update

    def printed(state: Any, forward: Any, augmentation: Any, x: Any, target: Any, *rest: Any) -> None:
        print(f"batch of {len(target)}", x.dtype, flush=True)
        update(state, forward, augmentation, x, target, *rest)

    loop.update = printed
    try:
        return classify.run(whole, context)
    finally:
        loop.update = update


class _Deadly:
    """A context in which the process dies."""

    def __init__(self, context: Any, left: int) -> None:
        self._context, self._left = context, left

    def __getattr__(self, name: str) -> Any:
        if name == "should_stop":
            self._left -= 1
            if not self._left:
                os.kill(os.getpid(), signal.SIGKILL)
        return getattr(self._context, name)
