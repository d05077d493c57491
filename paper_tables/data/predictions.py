"""Predictions per image, and McNemar's test between two arms, seed by seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paper_tables.core.files import ZIP_ERRORS
from paper_tables.core.statistics import MIN_SEEDS, crossed_interval, mcnemar

FILE = "predictions.npz"


@dataclass(frozen=True)
class Predictions:
    """A study's predictions.npz: members ``prediction/<trial>/<target>`` and ``target/<target>``."""

    path: Path

    @cached_property
    def _file(self) -> Any:
        try:
            return np.load(self.path)
        except ZIP_ERRORS:
            return {}

    @cached_property
    def _members(self) -> dict[str, tuple[str, str]]:
        found = (name.split("/") for name in self._file if name.startswith("prediction/"))
        return {steps[1]: ("/".join(steps), f"target/{steps[2]}") for steps in found if len(steps) == 3}

    def correct(self, trial: str) -> tuple[str, NDArray[np.bool_]] | None:
        """Return the name of the targets and which images the trial's model classified correctly."""
        if trial not in self._members:
            return None
        prediction, target = self._members[trial]
        try:
            mine, wanted = self._file[prediction], self._file[target]
        except (*ZIP_ERRORS, KeyError):
            return None
        return (target, mine == wanted) if mine.shape == wanted.shape else None


@dataclass(frozen=True)
class McNemarResult:
    """Two arms on the same images, over `n` seeds: images only one of them classified correctly, and p."""

    n: int
    gained: int
    lost: int
    p: float
    least: int
    """Smallest number of discordant images over the seeds: below six, p cannot fall below 0.05."""


def compare_predictions(images: Predictions, arm: Mapping[int, str], base: Mapping[int, str]) -> McNemarResult | None:
    """Arms as seed -> trial. p is the largest of the seeds', 1 if their signs differ: a marked difference
    holds for every seed. None if no seed has both predictions on the same targets."""
    gained, lost, ps, signs = [], [], [], set()
    for seed in sorted(arm.keys() & base.keys()):
        mine, theirs = images.correct(arm[seed]), images.correct(base[seed])
        if mine is None or theirs is None or mine[0] != theirs[0]:
            continue
        gained.append(int((mine[1] & ~theirs[1]).sum()))
        lost.append(int((theirs[1] & ~mine[1]).sum()))
        ps.append(mcnemar(gained[-1], lost[-1]))
        signs.add(np.sign(gained[-1] - lost[-1]))
    if not ps:
        return None
    least = min(g + x for g, x in zip(gained, lost, strict=True))
    return McNemarResult(len(ps), sum(gained), sum(lost), max(ps) if len(signs) == 1 else 1.0, least)


def interval_with_images(
    images: Predictions, arm: Mapping[int, str], base: Mapping[int, str] | None, level: float = 0.95
) -> tuple[float, float] | None:
    """Return mean and half width in points of the accuracy, or of its difference, for other seeds and other images.

    Arms as seed -> trial, paired by seed. None below three seeds with predictions of the same images.
    """
    rows, targets = [], set()
    for seed in sorted(arm.keys() & base.keys() if base is not None else arm):
        mine, theirs = images.correct(arm[seed]), images.correct(base[seed]) if base is not None else None
        if mine is None or (base is not None and (theirs is None or theirs[0] != mine[0])):
            continue
        targets.add(mine[0])
        rows.append(100.0 * mine[1] - (100.0 * theirs[1] if theirs is not None else 0.0))
    return crossed_interval(np.stack(rows), level) if len(rows) >= MIN_SEEDS and len(targets) == 1 else None
