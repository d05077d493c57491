"""A task that several processes run together, without torch: rank 0 tells the others the sum so far.

On request, one of the processes dies, raises or hangs in the first attempt, and the ranks above 0 read the checkpoint
only when rank 0 has logged its last step.
"""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import dataclass
from typing import Any, Literal

REVISION = 1
SMOKE: dict[str, Any] = {}


class Stopped(Exception):
    """Saved."""


@dataclass(frozen=True)
class Config:
    steps: int = 6
    seconds: float = 0.0
    fault: Literal["none", "kill", "raise", "hang"] = "none"
    rank: int = 1
    step: int = 3
    attempts: int = 1
    late: bool = False


def run(config: Config, context: Any) -> dict[str, Any]:
    total, first = 0, 1
    if (saved := context.load()) is not None:
        while (
            config.late and context.rank and (context.folder / "events.jsonl").read_bytes().count(b"\n") < config.steps
        ):
            time.sleep(0.02)
        total, first = json.loads(saved.read_text())
        context.log_text(f"resumed before step {first}")
    assert context.broadcast(first) == first, "resumed from another checkpoint than rank 0"
    for step in range(first, config.steps + 1):
        _fail(config, context, step)
        total = context.broadcast(total + step)
        assert total == step * (step + 1) // 2
        context.log(step, {"total": total}, steps=config.steps)
        time.sleep(config.seconds)
        if context.checkpoint_due():
            state = json.dumps([total, step + 1])
            context.save(lambda path, state=state: path.write_text(state))
        if context.should_stop:
            raise Stopped
    return {"metrics": {"total": total, "world": context.world, "rank": context.rank}}


def _fail(config: Config, context: Any, step: int) -> None:
    first = len(list((context.folder / "attempts").iterdir())) <= config.attempts
    if context.rank != config.rank or step != config.step or not first:
        return
    if config.fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if config.fault == "raise":
        raise ValueError("raised as configured")
    if config.fault == "hang":
        time.sleep(600)
