"""Into Ray and out of it: a private cluster below a short folder, or a visit to a standing one. Ray itself is given."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from studies.engine.core.processes import available_cores, is_alive
from studies.engine.jobs.launcher import LaunchError

PRIVATE_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a task without GPUs sees none
    "RAY_memory_monitor_refresh_ms": "0",  # it would kill the small process that waits, not the large one that trains
    "RAY_SCHEDULER_EVENTS": "0",
}
"""Settings of a private cluster; an existing one has its own."""
ANSWER_SECONDS = 20.0


def read_settings_anew() -> None:
    """Let Ray read its environment again: a process that worked on one cluster, as a notebook does, keeps the way in
    which it showed who it is, and the next cluster would refuse it. Ray's own tests do the same; older ones lack it.
    """
    with contextlib.suppress(ImportError, AttributeError):
        raylet: Any = importlib.import_module("ray._raylet")
        raylet.Config.initialize("")
        raylet.AuthenticationTokenLoader.instance().reset_cache()


def start_private(ray: Any, options: dict[str, Any], folder: Path) -> None:
    # 127.0.0.1 would become the outward address, except on a Mac
    address = "127.0.0.1" if sys.platform == "darwin" else "127.0.0.2"
    with suppress_output(), one_line("Ray cannot start on this machine"):
        ray.init(
            address="local",
            num_cpus=options.get("num_cpus", available_cores()),
            num_gpus=options.get("num_gpus"),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            object_store_memory=80 * 2**20,  # nothing travels through it
            _node_ip_address=address,
            _temp_dir=str(folder),
        )


def connect(ray: Any, address: str) -> None:
    """Connect to an existing cluster; LaunchError, in one line, if it refuses."""
    with suppress_output(), one_line(f"the Ray cluster at {address} cannot be joined"):
        _check_is_ray(ray, address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)


@contextlib.contextmanager
def one_line(what: str) -> Iterator[None]:
    """Turn whatever Ray raises (no port or memory, other versions of Ray or Python, a wrong token) into LaunchError."""
    try:
        yield
    except LaunchError:
        raise
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise LaunchError(f"{what}: {reason}") from error


def _check_is_ray(ray: Any, address: str) -> None:
    """Check that Ray listens there; `ray.init` would take minutes to find out."""
    if address.startswith("ray://"):
        return
    known = threading.Event()

    def ask() -> None:
        with contextlib.suppress(Exception):  # raised after 40 s, when the check has given up
            ray._raylet.GcsClient(address=address)
            known.set()

    threading.Thread(target=ask, daemon=True).start()
    if not known.wait(ANSWER_SECONDS):
        raise LaunchError(f"what answers at {address} is no Ray head, or one with a different token (RAY_AUTH_TOKEN)")


def driver_folders() -> dict[Path, str]:
    """Return this user's folders of private clusters with the `driver_id` that each belongs to."""
    marks = (folder / "driver" for folder in _socket_dir().glob("dynvit-ray-*") if os.access(folder, os.W_OK))
    return {mark.parent: mark.read_text() for mark in marks if mark.is_file()}


def private_folder(driver: str) -> Path:
    """Make a folder that only this user enters, for that driver, and remove those of killed drivers."""
    for folder, other in driver_folders().items():
        pid, _, birth = other.partition(":")
        if pid.isdigit() and not is_alive(int(pid), birth):
            shutil.rmtree(folder, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix="dynvit-ray-", dir=_socket_dir()))
    (folder / "driver").write_text(driver)
    return folder


def _socket_dir() -> Path:
    """Return a short folder: paths of sockets are limited to 107 bytes, of which 84 are used below it."""
    folder = Path(tempfile.gettempdir())
    return folder if len(str(folder)) <= 23 else Path("/tmp")


@contextlib.contextmanager
def suppress_output() -> Iterator[None]:
    """Suppress Ray's own messages."""
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        yield
