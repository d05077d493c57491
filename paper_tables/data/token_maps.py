"""A trial's token maps (``maps/<trial>.npz``): images, which tokens took part in which layer, how they ranked.

images uint8 [I, H, W, C], active bool [I, L, N], grid int [2]; perhaps importance uint8 [I, S, N], 255 for an image's
highest rank, of the layers scored int [S], with the kind of score.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paper_tables.core.errors import file_error

ACTIVE, RESTARTED, PAUSED, PRUNED = range(4)
STATES = ("takes part", "takes part again", "paused", "never again")
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
        """In how many layers each token took part."""
        return np.asarray(self.active.sum(1))

    @property
    def states(self) -> Array:
        return states(self.active)


def read_token_maps(file: Path) -> TokenMaps:
    """Raises TableError where the file is not one of token maps."""
    try:
        with np.load(file, allow_pickle=False) as found:
            told = {name: found[name] for name in found.files}
        rows, columns = (int(n) for n in told["grid"])
        images, active = told["images"] / 255.0, told["active"].astype(bool)
        active = active.reshape(*active.shape[:2], rows, columns)
        scored = [int(i) + 1 for i in told.get("scored", ())]
        ranks = told.get("importance", np.zeros((len(images), 0, rows * columns))) / 255.0
        ranks = ranks.reshape(len(images), len(scored), rows, columns)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise file_error(file, f"cannot be read as token maps: {error}") from error
    if images.shape[-1] == 1:
        images = images[..., 0]
    return TokenMaps(images, active, ranks, scored, str(told.get("kind", "")))


def states(active: Array) -> Array:
    """Of bool [I, L, ...] the state of each token in each layer: KEPT, RESTARTED (out before), PAUSED, GONE."""
    before = np.logical_or.accumulate(~active, axis=1)  # out in this layer or an earlier one
    later = np.flip(np.logical_or.accumulate(np.flip(active, 1), axis=1), 1)  # in now or in a later one
    return np.where(active, np.where(before, RESTARTED, ACTIVE), np.where(later, PAUSED, PRUNED))
