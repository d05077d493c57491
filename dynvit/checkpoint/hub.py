"""The Hugging Face hub, from which timm's weights come."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
from torch import nn

CONNECT_SECONDS = 5.0


@contextmanager
def hub_or_cache() -> Iterator[None]:
    """Load timm's weights inside; without a network from the cache alone: the hub's client would retry for a minute."""
    constants: Any = sys.modules.get("huggingface_hub.constants")  # timm imports it, where it is installed
    if constants is None:
        yield
        return
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _answers(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def random_tensors(make: Callable[[], nn.Module]) -> list[str]:
    """Return the tensors that differ between two models which should have the same published weights: an own model may
    take `pretrained` and do nothing with it."""
    first, second = make().state_dict(), make().state_dict()
    return [name for name, tensor in first.items() if not torch.equal(tensor, second[name])]


def _answers(address: str) -> bool:
    parts = urlsplit(address)
    if getproxies().get(parts.scheme):
        return True  # only the proxy knows
    try:
        port = parts.port or {"http": 80}.get(parts.scheme, 443)
        socket.create_connection((parts.hostname or "", port), CONNECT_SECONDS).close()
    except OSError:
        return False
    return True
