"""Random streams named by purpose, so that arms with equal seeds share them.

One seed gives separate streams for initialization ("init"), data order ("order"), augmentation ("augment") and dropout
in models ("drop"). A model that draws more numbers than another does not change the data order.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def derive(seed: int, *purpose: str | int) -> int:
    """Return a 63-bit seed for a purpose, such as ``derive(0, "order", epoch)``; the same on every machine."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(seed: int, *purpose: str | int, device: str | torch.device = "cpu") -> torch.Generator:
    """Return a new generator for a purpose. One per step costs microseconds and needs no state in checkpoints."""
    return torch.Generator(device).manual_seed(derive(seed, *purpose))


def seed_globally(seed: int, *purpose: str | int) -> None:
    """Seed the global generators of torch (all devices), numpy and Python, which models draw from."""
    value = derive(seed, *purpose)
    torch.manual_seed(value)
    np.random.seed(value % 2**32)
    random.seed(value)


def random_states(device: str) -> dict[str, Any]:
    """Return all global random states, in types that ``torch.load(weights_only=True)`` accepts."""
    name, keys, position, has_gauss, gauss = np.random.get_state()
    states: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": (str(name), torch.from_numpy(keys.astype(np.int64)), int(position), int(has_gauss), float(gauss)),
        "python": random.getstate(),
    }
    if device.startswith("cuda"):
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_random_states(states: dict[str, Any], device: str) -> None:
    """Restore what `random_states` returned."""
    torch.set_rng_state(states["torch"].cpu())
    name, keys, position, has_gauss, gauss = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    version, internal, gauss_next = states["python"]
    random.setstate((version, tuple(internal), gauss_next))
    if device.startswith("cuda") and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"].cpu(), device)


@contextmanager
def own_stream(seed: int, *purpose: str | int) -> Iterator[None]:
    """Seed the CPU's global generators for a purpose inside the block; restore their states afterwards."""
    states = random_states("cpu")
    value = derive(seed, *purpose)
    torch.default_generator.manual_seed(value)
    np.random.seed(value % 2**32)
    random.seed(value)
    try:
        yield
    finally:
        set_random_states(states, "cpu")


@contextmanager
def deterministic(on: bool) -> Iterator[None]:
    """Use deterministic kernels inside the block; torch warns for operators that have none."""
    before = (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled())
    fill, torch.utils.deterministic.fill_uninitialized_memory = (
        torch.utils.deterministic.fill_uninitialized_memory,
        False,  # filling every empty tensor with NaN is a debugging aid, and slow
    )
    benchmark = torch.backends.cudnn.benchmark
    if on:
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.utils.deterministic.fill_uninitialized_memory = fill
        torch.backends.cudnn.benchmark = benchmark
