"""In this process, one trial after another: for debugging, CI, and machines with nothing else installed."""

from __future__ import annotations

from collections.abc import Sequence

from studies.engine import worker
from studies.engine.context import Stop
from studies.engine.launch import Handle, Job, JobState, LaunchError, Site
from studies.engine.store import TrialFolder
from studies.engine.trial import Resources


def open(site: Site) -> Inline:
    return Inline(site.stop)


class Inline:
    """Each `poll` runs one trial, so the driver looks around between two."""

    name = "inline"
    steals = True
    pack = 1
    interval = 0.0

    def __init__(self, stop: Stop) -> None:
        self._stop = stop

    def slots(self, resources: Resources) -> int:
        if resources.gpus > 1 or resources.nodes > 1:
            raise LaunchError("inline runs a trial on one device")
        return 1

    def submit(self, jobs: Sequence[Job]) -> list[Handle]:
        return [Handle(job, [TrialFolder(folder) for folder in job.folders]) for job in jobs]

    def poll(self, handles: Sequence[Handle]) -> dict[Handle, JobState]:
        worked = False
        for handle in handles:
            left: list[TrialFolder] = handle.native
            while left and not self._stop and not worked:
                worked = worker.attempt(left.pop(0), self._stop, handle.job.device, inline=True) is not None
        return {h: "running" if h.native and not self._stop else "gone" for h in handles}

    def stop(self, handles: Sequence[Handle], kill: bool = False) -> None:
        """The trial under way sees it at its next step. What kills here is the second Ctrl-C itself."""
        self._stop.ask()

    def close(self) -> None:
        return None
