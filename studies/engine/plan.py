"""Arms times seeds against what is on disk: which trials there are, how they stand, what a run would launch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from studies.engine.store import Store
from studies.engine.study import Study
from studies.engine.trial import State, Trial

Rerun = Literal["failed", "stale", "all"]


@dataclass(frozen=True)
class Estimate:
    """What the trials to run will take, judged by finished trials of the same study."""

    seconds_per_trial: float
    gpu_hours: float
    seconds: float
    """Sum over the trials to run, one after the other."""
    measured_on: int
    device: str


@dataclass(frozen=True)
class Plan:
    study: Study
    label: str
    """Empty for the default scale; else scale, ``smoke``, ``set-<hash6>`` joined by ``-``."""
    folder: Path
    scale: str
    trials: tuple[Trial, ...]
    """Every trial of the study at this scale."""
    selected: tuple[Trial, ...]
    """Those that `--only` and `--seeds` leave."""
    states: dict[str, State]
    """folder id -> state as on disk; a trial without a folder stands as ``planned``."""
    to_run: tuple[Trial, ...]
    """Of the selected ones: all that are not done and not in a live worker's hands, and those to restart."""
    running: tuple[Trial, ...] = ()
    """Of the selected ones: those that a live worker holds at this moment."""
    restart: frozenset[str] = frozenset()
    """Folder ids that begin anew (`--rerun`): their content goes to attempts/ and no checkpoint is taken up."""
    reused: int = 0
    """Done trials that another study paid for."""
    stale: int = 0
    """Done trials whose source differs from today's."""
    estimate: Estimate | None = None
    """None: nothing measured yet."""

    def state(self, trial: Trial) -> State:
        return self.states.get(trial.folder_id, State())


@dataclass(frozen=True)
class Choice:
    """What the command line chose of a study, already checked against it."""

    scale: str = ""
    overrides: tuple[tuple[str, Any], ...] = ()
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """``part``, ``axis`` or ``part.axis`` -> labels."""
    seeds: tuple[int, ...] | None = None
    smoke: bool = False


def make_plan(
    study: Study,
    store: Store,
    *,
    scale: str = "",
    overrides: Sequence[tuple[str, Any]] = (),
    only: Mapping[str, tuple[str, ...]] | None = None,
    seeds: Sequence[int] | None = None,
    smoke: bool = False,
    rerun: Rerun | None = None,
) -> Plan:
    """Compare the study with the results folder. Reads only."""
    raise NotImplementedError
