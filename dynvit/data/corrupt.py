"""Images that cannot be decoded: left out and counted up to a stated number, an error beyond it."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable
from typing import Any

SHOWN = 5
DAMAGED = (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error)
"""What PIL's decoders raise at bytes that are no image, or half of one."""


class Corrupt:
    """The unreadable images of a data set that have been met so far: name and reason."""

    def __init__(self, limit: int = 0) -> None:
        self.limit = limit
        self.found: dict[str, str] = {}

    def add(self, found: Iterable[tuple[str, str]]) -> None:
        """ValueError with the first names where there are more than the limit allows."""
        self.found |= dict(found)
        if len(self.found) <= self.limit:
            return
        told = [f"{name} cannot be read as an image: {reason}" for name, reason in self.found.items()]
        if len(told) == 1:
            raise ValueError(f"{told[0]}; to leave such images out, say how many in data.max_corrupt")
        more = f" and {len(told) - SHOWN} more" if len(told) > SHOWN else ""
        raise ValueError(f"{len(told)} images, data.max_corrupt is {self.limit}: {'; '.join(told[:SHOWN])}{more}")


def why(error: Exception) -> str:
    """The decoder's reason; where it names the bytes by their address, that they are no image."""
    return "no image format that PIL knows" if "<_io." in str(error) else str(error)


def decoded(content: bytes) -> Any:
    """A PIL image in RGB."""
    from PIL import Image

    with Image.open(io.BytesIO(content)) as opened:
        return opened.convert("RGB")
