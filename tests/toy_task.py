"""A task without torch: a noisy quadratic is minimised; on request it crashes, raises, hangs or runs out of memory.

Deterministic by seed and step, so a trial that was killed and resumed ends with the numbers of an undisturbed one.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

REVISION = 1
SMOKE: dict[str, Any] = {"train.steps": 2}


class Stopped(Exception):
    """Saved, because the engine asked; recognised by its name."""


@dataclass(frozen=True)
class Train:
    steps: int = 5
    lr: float = 0.1
    noise: float = 0.01
    seconds: float = 0.0
    """Per step."""


@dataclass(frozen=True)
class Fault:
    kind: Literal["none", "raise", "exit", "kill", "hang", "nan", "memory", "deaf", "print"] = "none"
    step: int = 2
    attempts: int = 1000
    """Only in this many first attempts."""


@dataclass(frozen=True)
class Config:
    shape: Literal["round", "long"] = "round"
    depth: int = 1
    train: Train = field(default_factory=Train)
    fault: Fault = field(default_factory=Fault)
    side: str = ""
    """A folder: who completed what, and whether two ever ran the same trial at once."""
    keep_checkpoint: bool = False
    """Leave x in last.safetensors."""
    init: str = field(default="", metadata={"kind": "weights"})
    """Where x starts: such a file."""


def run(config: Config, context: Any) -> dict[str, Any]:
    lock, attempt = _enter(config, context), len(list((context.folder / "attempts").iterdir()))
    x, best, first = json.loads(Path(config.init).read_text()) if config.init else 10.0, float("inf"), 1
    saved = context.load()
    if saved is not None:
        x, best, first = json.loads(saved.read_text())
        context.log_text(f"resumed before step {first}")
    steps = config.train.steps
    for step in range(first, steps + 1):
        x, loss = _descend(config, context.seed, step, x)
        best = min(best, loss)
        context.log(step, {"train.loss": loss, "val.score": -loss}, steps=steps)
        _fail(config.fault, step, context)
        time.sleep(config.train.seconds)
        if config.fault.kind != "deaf" and step < steps and context.checkpoint_due():
            state = json.dumps([x, best, step + 1])
            context.save(lambda path, state=state: path.write_text(state))
            if context.should_stop:
                raise Stopped
    if config.keep_checkpoint:
        context.save_artifact("last.safetensors", json.dumps(x).encode())
    _leave(config, context, attempt, lock)
    return {
        "metrics": {"best": {"score": -best}, "last": {"score": -loss, "x": x}, "distance": abs(x)},
        "cost": {"params": config.depth, "gflops": 0.001 * config.depth},
    }


def _descend(config: Config, seed: int, step: int, x: float) -> tuple[float, float]:
    curvature = 1.0 if config.shape == "round" else 0.3
    noise = config.train.noise * random.Random(f"{seed}:{step}").gauss(0, 1)
    x -= config.train.lr * (2 * curvature * x + noise) / config.depth
    return x, curvature * x * x


def _fail(fault: Fault, step: int, context: Any) -> None:
    if step != fault.step or len(list((context.folder / "attempts").iterdir())) > fault.attempts:
        return
    if fault.kind == "raise":
        raise ValueError("raised as configured")
    if fault.kind == "nan":
        raise FloatingPointError(f"loss is nan at step {step}")
    if fault.kind == "exit":
        os._exit(3)
    if fault.kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault.kind == "memory":
        raise MemoryError
    if fault.kind == "hang":
        while not context.should_stop:
            time.sleep(0.02)
    if fault.kind == "deaf":
        time.sleep(600)
    if fault.kind == "print":
        print("a word")
        print(*(f"{key}={os.environ.get(key)!r}" for key in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "PYTHONPATH")))
        os.system("echo a word from a child")


def _enter(config: Config, context: Any) -> Any:
    """The kernel lets go of the lock when the process dies, so a taken one means two at work on one trial: noted only,
    as the other one may be suspended."""
    if not config.side:
        return None
    lock = open(Path(config.side) / f"{context.folder.name}.lock", "w")  # noqa: SIM115
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _note(config, f"OVERLAP {context.folder.name}")
    return lock


def _leave(config: Config, context: Any, attempt: int, lock: Any) -> None:
    if config.side:
        _note(config, f"{context.folder.name} {attempt}")
        lock.close()


def _note(config: Config, line: str) -> None:
    with open(Path(config.side) / "completed", "a") as f:
        f.write(line + "\n")
