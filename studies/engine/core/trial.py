"""Resources, arms, trials and their states. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from studies.engine.core.config import flat
from studies.engine.core.own_code import OwnCode

Status = Literal["planned", "queued", "running", "done", "failed", "stopped", "lost", "preempted"]
STATUSES: tuple[Status, ...] = get_args(Status)
Config = dict[str, Any]


KEEP = "keep_checkpoint"
"""The option of a task that leaves the trained weights in the trial's folder."""
_REFERENCE = re.compile(r"trial:(\w+)")


def reference(trial: str) -> str:
    """Return what a config holds where weights come from another trial, by the id of its folder."""
    return f"trial:{trial}"


def is_reference(value: object) -> bool:
    return isinstance(value, str) and _REFERENCE.fullmatch(value) is not None


def first_trials(config: Config) -> dict[str, str]:
    """Return config key -> folder id of the trials that a trial with this config starts from."""
    return {key: value.partition(":")[2] for key, value in flat(config) if is_reference(value)}


def keeps_text(path: tuple[str | int, ...]) -> bool:
    """Return whether the value at a path of a study file is an option of sbatch, which gets it as it is typed."""
    parent = path[:-2] if path[-2:-1] == ("sbatch",) else path[:-1]
    return parent[-2:] == ("launcher", "slurm")


@dataclass(frozen=True)
class Resources:
    """What one trial needs. gpus: a fraction lets trials share a device; above one, whole devices of each node, with
    one process each."""

    gpus: float = 0.0
    nodes: int = 1
    cpus: int = 1
    """Of each process."""
    memory_gb: float | None = None
    """Of each node."""
    minutes: float | None = None
    retries: int = 1
    processes: int | None = None
    """On each node, training one trial together; default: one per GPU, or one without GPUs."""
    launcher: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def per_node(self) -> int:
        """Processes on each node."""
        return self.processes or max(1, int(self.gpus))

    @property
    def per_gpu(self) -> int:
        """Trials that share a GPU by their fraction of it."""
        return max(1, int(1 / self.gpus + 1e-6)) if 0 < self.gpus < 1 else 1

    @property
    def world(self) -> int:
        """Processes in all, started together; each gets the variables of `distributed.env.rank_environment`."""
        return self.per_node * max(1, self.nodes)


@dataclass(frozen=True)
class Arm:
    """One setting of a part's axes. coords holds every axis of the part; None where an axis is inert."""

    part: str
    label: str
    coords: tuple[tuple[str, str | None], ...]
    config: Config
    is_baseline: bool
    blocks: tuple[str, ...]


@dataclass(frozen=True)
class Trial:
    """An arm with a seed. `id` names the whole resolved config; `folder_id` the folder that serves it.

    The two differ only where an older trial is reused (an option was added since, at its default).
    """

    id: str
    folder_id: str
    arm: Arm
    seed: int
    task: str
    config: Config
    defaults: Config
    resources: Resources
    revision: int = 1
    """The task's REVISION: raised when the same config no longer means the same computation."""
    study: str = ""
    """The study that needs it, with its label; a folder's spec names the first such study."""
    starts: tuple[str, ...] = ()
    """Folder ids of the trials whose weights it takes."""
    own: OwnCode | None = None
    """Its study's own code, a task's file among it. It is no part of its identity: an edit makes it stale."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """By config key, the path of a file or folder that it reads; also no part of its identity."""
    missing: tuple[str, ...] = ()
    """Sentences about files that it reads and that are not on this machine."""

    @property
    def name(self) -> str:
        return f"{self.arm.part} {self.arm.label} s{self.seed}"

    def spec(self) -> dict[str, Any]:
        """Return the contents of spec.json."""
        return {
            "schema": 1,
            "id": self.id,
            "task": self.task,
            "revision": self.revision,
            "config": self.config,
            "defaults": self.defaults,
            "seed": self.seed,
            "study": self.study,
            **(self.own.spec if self.own else {}),
            **({"inputs": dict(self.inputs)} if self.inputs else {}),
        }


@dataclass(frozen=True)
class State:
    """state.json of a trial folder."""

    status: Status = "planned"
    attempt: int = 0
    """Attempts started so far; attempts/<attempt - 1> is the latest."""
    step: int = 0
    steps: int | None = None
    heartbeat: float = 0.0
    host: str = ""
    pid: int = 0
    device: str = ""
    reason: str = ""
    permanent: bool = False
    """Another attempt would fail as well."""
    started: float = 0.0
    ended: float = 0.0
    latest: dict[str, float] = field(default_factory=dict)
    """The last logged value of a few metrics, for the progress display."""
