"""A request to stop, shared by signal handlers, threads and loops of one process."""

from __future__ import annotations

from studies.engine.core.trial import Status


class StopRequest:
    """Whether, and with which status, this process should save and end. True once requested."""

    def __init__(self) -> None:
        self.status: Status | None = None
        self.detach = False
        """Requested by Ctrl-C: jobs that do not need the driver may continue."""

    def request(self, status: Status = "stopped") -> None:
        """Request a stop; the first status wins."""
        self.status = self.status or status

    def __bool__(self) -> bool:
        return self.status is not None
