"""Runs in Ray's process on a node: starts a worker, waits for it, forwards a stop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def make_remote_function(code: Path) -> Callable[[list[str], dict[str, str], str], tuple[int, str]]:
    """Return a nested function: pickled by value, so it imports the code from the snapshot only."""
    path = str(code)

    def run(arguments: list[str], environment: dict[str, str], note: str) -> tuple[int, str]:
        import socket
        import sys
        from pathlib import Path

        if not Path(path).is_dir():
            return 0, f"{socket.gethostname()} does not see {path}: all nodes must share the results folder"
        sys.path.insert(0, path)

        from studies.engine.core.processes import machine_id
        from studies.engine.jobs.worker_process import WorkerProcess

        if "DYNVIT_RENDEZVOUS_ID" in environment:
            node = sys.modules["ray"].util.get_node_ip_address()  # loaded: Ray calls this function
            environment = {"DYNVIT_ADDRESS": node, **environment}  # given where the trial has one node only
        process = WorkerProcess(arguments, environment)
        Path(note).write_text(f"{process.pid} {machine_id()}")
        return process.pid, process.wait()

    return run


def read_worker(note: Path) -> tuple[int, str]:
    """Return a worker's process id and machine; 0 before its start and after its note was removed."""
    try:
        pid, _, host = note.read_text().partition(" ")
        return int(pid or 0), host
    except (OSError, ValueError):
        return 0, ""
