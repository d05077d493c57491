"""Looks at the claims of a study whose seeds are added until they are decided: `run --until decided`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class LookReport:
    """What a look found. Conditions are named ``claim`` or, where a claim has several, ``claim[2]`` (from 1)."""

    n: int
    decided: tuple[str, ...]
    """Frozen at this or an earlier look."""
    undecided: tuple[str, ...]
    """Worth more seeds."""
    futile: tuple[str, ...]
    """Hardly decided by the last look. They ask for no seeds, and are judged again where their arms get some."""
    lost: tuple[str, ...]
    """Never decided, because too many trials failed or diverged."""
    arms: tuple[tuple[str, str], ...]
    """(part, arm label) of this study that undecided conditions need at the next look, controls included.
    Empty at the last look."""
    lines: tuple[str, ...]
    """For the terminal: one line per condition that this look judged."""

    @property
    def finished(self) -> bool:
        """Whether no further look is needed."""
        return not self.arms


def rule_digests(spec: Path | None, decide: Mapping[str, Any]) -> dict[str, str]:
    """Return claim -> 12 hex digits over its sampled conditions, its bounds and margins, looks and error.

    `spec`: the table file; None where a study has none. `decide`: as in the study file, ``{"looks": [...], "error": ...}``.
    Claims without a sampled condition have no entry. Raises TableError for a faulty table file.
    """
    raise NotImplementedError


def take_look(folder: Path, spec: Path | None, n: int) -> LookReport:
    """Judge every sampled condition of the study's claims on the first n seeds; freeze and record what is decided.

    `folder` holds the collected frame, whose metadata has `decide`; an arm's seeds are counted in the order of its
    rows. `spec`: the table file, None for the study's own. The record is ``decisions.json`` in `folder`; a look that
    it has is not taken again. A condition with trials that have neither finished nor failed is not judged.
    Raises TableError for a faulty table file or frame, ValueError if n is no look of the study.
    """
    raise NotImplementedError


def plan_power(spec: Path | None, folder: Path, decide: Mapping[str, Any]) -> list[str]:
    """Return lines for `plan`: the distance from its bound that each sampled condition can tell at each look.

    With the spread of the results in `folder`, where there are some with three seeds or more, else with an assumed one.
    """
    raise NotImplementedError
