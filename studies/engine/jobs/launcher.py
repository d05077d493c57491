"""The launcher protocol: a launcher runs jobs, which are lists of trial folders.

Each launcher is one module in `launchers/`, found by its name. A work-stealing launcher (one machine, a Ray cluster)
gets overlapping lists: as many jobs as it has capacity for, each with all open trials, and leases decide which job runs
which trial. Any other (a batch queue) gets every trial in one job only. A trial's state is read from its folder; `poll`
reports only whether a job's process exists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from studies.engine.core.stop import StopRequest
from studies.engine.core.trial import Resources

JobState = Literal["waiting", "running", "gone"]


class LaunchError(Exception):
    """The launcher cannot run this; the text is for the user."""


@dataclass(frozen=True)
class Job:
    """Trial folders that one process runs one after another; resources are those of one trial."""

    folders: tuple[Path, ...]
    resources: Resources

    @property
    def device(self) -> str:
        return "cuda:0" if self.resources.gpus > 0 else "cpu"


@dataclass(eq=False)
class Handle:
    """A submitted job."""

    job: Job
    native: Any = None
    pid: int = 0
    exit_note: str = ""
    """Both set when gone: the worker's process id, and how it ended if something else ended it."""
    ended_by_cluster: bool = False
    """Set when gone: the cluster ended it (node failure, preemption, scancel), not the trial."""


@dataclass(frozen=True)
class LaunchContext:
    """Where a launcher works; what `create` of its module gets."""

    results: Path
    study_folder: Path
    options: dict[str, Any]
    """`resources.launcher.<name>` of the study."""
    stop: StopRequest = field(default_factory=StopRequest)
    """Requested when the user interrupts; a launcher that works in this process passes it to its trials."""


class Launcher(Protocol):
    name: str
    work_stealing: bool
    trials_per_job: int
    """Trials per job without work stealing."""
    interval: float
    """Seconds between two polls."""

    def capacity(self, resources: Resources) -> int:
        """Return how many such jobs to run at once. LaunchError, with what is available, if none can ever run."""
        ...

    def submit(self, jobs: Sequence[Job]) -> list[Handle]: ...

    def poll(self, handles: Sequence[Handle]) -> dict[Handle, JobState]: ...

    def stop(self, handles: Sequence[Handle], kill: bool = False) -> None:
        """Ask the workers to save and end; kill: end them at once. Returns without waiting."""
        ...

    def close(self) -> None:
        """Release everything; nothing runs afterwards except jobs meant to outlive the driver."""
        ...


@runtime_checkable
class BatchLauncher(Launcher, Protocol):
    """A launcher whose jobs continue without the driver and can be reattached by a later one."""

    def reattach(self, folders: Sequence[Path]) -> list[Handle]:
        """Return the queued jobs that an earlier driver submitted for these trials, one handle per trial."""
        ...

    def messages(self) -> list[str]:
        """Return the lines for the user since the last call."""
        ...


def _modules() -> dict[str, str]:
    """Return every launcher's module: ``launchers/<name>.py`` or ``launchers/<name>/launcher.py``."""
    package, folder = "studies.engine.launchers", Path(__file__).parent.parent / "launchers"
    files = {file.stem: f"{package}.{file.stem}" for file in folder.glob("[!_]*.py")}
    return files | {file.parent.name: f"{package}.{file.parent.name}.launcher" for file in folder.glob("*/launcher.py")}


def launcher_names() -> list[str]:
    return sorted(_modules())


def option_types(name: str) -> Mapping[str, Any]:
    """Return the options of a launcher with their types: its module's `OPTIONS`, none without."""
    found: Mapping[str, Any] = getattr(import_module(_modules()[name]), "OPTIONS", {})
    return found


def create_launcher(name: str, site: LaunchContext) -> Launcher:
    """Return the launcher of that name; LaunchError if there is none or its package is missing."""
    known = launcher_names()
    if name not in known:
        near = get_close_matches(name, known, 1)
        raise LaunchError(
            f"no launcher {name}" + (f", did you mean {near[0]}?" if near else f", there are {', '.join(known)}")
        )
    try:
        made: Launcher = import_module(_modules()[name]).create(site)
    except ModuleNotFoundError as error:
        raise LaunchError(f"launcher {name} needs the package {error.name}, which is not installed") from error
    return made


def default_launcher(asked: str | None, trials: int, options: Sequence[str] = ()) -> tuple[str, str]:
    """Return the launcher's name and, where the choice needs explaining, one line.

    options: typed for the launcher that many trials have, however few of them are left.
    """
    if asked:
        return asked, ""
    if trials <= 1 and not options:
        return "inline", ""
    if find_spec("ray") is None:
        return "inline", "ray is not installed: trials run one after another in this process"
    return "ray", ""
