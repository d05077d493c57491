"""A trial's token maps (``maps/<trial>.npz``): images, active tokens per layer, importance ranks.

images uint8 [I, H, W, C], active bool [I, L, N], grid int [2]; optional importance uint8 [I, S, N], 255 for an image's
highest rank, of the layers scored int [S], with the kind of score.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paper_tables.core.errors import file_error
from paper_tables.core.files import ZIP_ERRORS

ACTIVE, RESTARTED, PAUSED, PRUNED = range(4)
STATES = ("active", "restarted", "paused", "pruned")
Array = NDArray[Any]


@dataclass(frozen=True)
class TokenMaps:
    """The file, tokens laid out on their grid."""

    images: Array
    """Grey or RGB in 0..1."""
    active: Array
    """bool [I, L, rows, columns]"""
    importance: Array
    """0..1 [I, S, rows, columns]; S may be 0."""
    scored: list[int]
    """The layers of `importance`, from 1."""
    kind: str

    @property
    def depth(self) -> Array:
        """Number of layers in which each token is active."""
        return np.asarray(self.active.sum(1))

    @property
    def states(self) -> Array:
        return states(self.active)


def read_token_maps(file: Path) -> TokenMaps:
    """Return the token maps of a file. Raises TableError if it is not a file of token maps."""
    try:
        with np.load(file, allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
        rows, columns = (int(n) for n in arrays["grid"])
        images, active = arrays["images"] / 255.0, arrays["active"].astype(bool)
        active = active.reshape(*active.shape[:2], rows, columns)
        scored = [int(i) + 1 for i in arrays.get("scored", ())]
        ranks = arrays.get("importance", np.zeros((len(images), 0, rows * columns))) / 255.0
        ranks = ranks.reshape(len(images), len(scored), rows, columns)
    except (*ZIP_ERRORS, KeyError) as error:
        raise file_error(file, f"cannot be read as token maps: {error}") from error
    if images.shape[-1] == 1:
        images = images[..., 0]
    return TokenMaps(images, active, ranks, scored, str(arrays.get("kind", "")))


def states(active: Array) -> Array:
    """Return the state of each token from bool [I, L, ...]: ACTIVE, RESTARTED (paused before), PAUSED or PRUNED."""
    before = np.logical_or.accumulate(~active, axis=1)  # inactive in this layer or an earlier one
    later = np.flip(np.logical_or.accumulate(np.flip(active, 1), axis=1), 1)  # active now or in a later layer
    return np.where(active, np.where(before, RESTARTED, ACTIVE), np.where(later, PAUSED, PRUNED))
