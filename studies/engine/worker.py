"""Runs trials: ``python -m studies.engine.worker [--until-empty] [--device cuda:0] FOLDER...``

One process takes its trial folders one after another, so that what is slow to import is imported once. A folder that
is done, claimed by a live worker, or failed (whether to try again is for the driver to decide) is passed over. Standard
library only, and the task.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import faulthandler
import gc
import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from studies.engine import environment
from studies.engine.context import Abandoned, Stop, TrialContext
from studies.engine.pulse import Parents, Pulse
from studies.engine.store import TrialFolder, write_atomic
from studies.engine.taskfile import load_task
from studies.engine.trial import State, Status

RUNNABLE = ("planned", "queued", "preempted")
DISK = 74
"""Exit code where the results folder could not be written (EX_IOERR)."""


def work(
    folders: Sequence[TrialFolder], stop: Stop, device: str, parents: Parents | None, until_empty: bool = False
) -> list[Status]:
    """Run what may be run in `folders`, in a process of its own; how each of them ended."""
    ended: list[Status] = []
    while True:
        before = len(ended)
        for folder in folders:
            if stop:
                return ended
            status = attempt(folder, stop, device, parents)
            if status is not None:
                ended.append(status)
            if status == "failed" and folder.state().reason.startswith("oom"):
                return ended  # the device's memory is best cleaned by a new process
        if len(ended) == before or not until_empty:
            return ended


def attempt(
    folder: TrialFolder, stop: Stop, device: str = "cpu", parents: Parents | None = None, inline: bool = False
) -> Status | None:
    """One attempt at one trial; None where there is nothing to do or another has it. inline: this process does more."""
    if folder.state().status not in RUNNABLE:
        return None
    token = folder.claim()
    if token is None:
        return None
    try:
        state = folder.state()  # again: another may have run it before we had the claim
        if state.status not in RUNNABLE:
            return None
        _sweep(folder)
        now = time.time()
        running = State("running", state.attempt + 1, host=socket.gethostname(), pid=os.getpid(), device=device)
        running = replace(running, started=state.started or now, heartbeat=now)
        here = folder.attempt_folder(state.attempt)
        here.mkdir(parents=True, exist_ok=True)
        folder.set_state(running)
        with _captured(here / "log.txt", inline):
            return _run(folder, token, running, stop, parents)
    finally:
        folder.release(token)


def _run(folder: TrialFolder, token: str, running: State, stop: Stop, parents: Parents | None) -> Status | None:
    began = time.monotonic()
    here = folder.attempt_folder(running.attempt - 1)
    write_atomic(here / "env.json", json.dumps(environment.describe(running.device), indent=1) + "\n", durable=False)
    spec = folder.spec() or {}
    context = TrialContext(folder, running.attempt - 1, int(spec.get("seed", 0)), running.device, stop)
    context.say(f"trial {folder.id}, attempt {running.attempt}, process {running.pid} on {running.host}")
    pulse = Pulse(folder, token, running, context, stop, parents)
    status: Status = "failed"
    try:
        with pulse:
            result = _call(spec, context)
        result["cost"].setdefault("seconds", round(time.monotonic() - began, 3))
        folder.set_result({"schema": 1, **result})
        status, reason = "done", ""
    except Abandoned:
        context.say("another worker has taken this trial over: nothing more is written here")
        return None
    except BaseException as error:
        status, reason = _verdict(error, stop)
        if status == "failed":
            traceback.print_exc()
            traceback.clear_frames(error.__traceback__)  # lets go of what the task held
        if isinstance(error, KeyboardInterrupt):
            folder.set_state(replace(pulse.state(), status=status, reason=reason, ended=time.time()))
            raise
    finally:
        context.close(forget=status == "done" and not _kept(spec.get("config")))
    folder.set_state(replace(pulse.state(), status=status, reason=reason, ended=time.time()))
    context.say(f"{status} after {time.monotonic() - began:.1f} s" + (f": {reason}" if reason else ""))
    if status == "failed":
        gc.collect()
    return status


def _call(spec: dict[str, Any], context: TrialContext) -> dict[str, Any]:
    """The task's result as it will be read back: {"metrics": {...}, "cost": {...}}."""
    if "task" not in spec or "config" not in spec:
        raise ValueError("spec.json is missing or damaged")
    result = load_task(spec["task"]).run(spec["config"], context)
    if not isinstance(result, dict) or not isinstance(result.get("metrics"), dict):
        raise TypeError(
            'a task returns {"metrics": {...}, "cost": {...}}' + f", this one returned {type(result).__name__}"
        )
    plain = json.loads(json.dumps({"cost": {}, **result}, default=lambda value: value.item()))
    return dict(plain)


def _verdict(error: BaseException, stop: Stop) -> tuple[Status, str]:
    names = {cls.__name__ for cls in type(error).__mro__}  # by name: importing the task's package here would cost torch
    if "Stopped" in names and stop.status is not None:
        return stop.status, ""
    if isinstance(error, KeyboardInterrupt):
        return "stopped", "interrupted"
    if isinstance(error, MemoryError) or "OutOfMemoryError" in names:
        return "failed", "oom"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "failed", f"the disk is full: {error}"
    return "failed", "".join(traceback.format_exception_only(error)).strip().splitlines()[-1][:300]


def _kept(config: object) -> bool:
    """Whether the config says anywhere `keep_checkpoint: true`."""
    return isinstance(config, dict) and (
        config.get("keep_checkpoint") is True or any(_kept(value) for value in config.values())
    )


def _sweep(folder: TrialFolder) -> None:
    """Half-written files that a killed worker left."""
    for place in (folder.path, folder.checkpoint_file.parent):
        for file in place.glob(".*"):
            with contextlib.suppress(FileNotFoundError):
                claiming = file.name.startswith(".claim.")  # perhaps by somebody at this very moment
                if not claiming or file.stat().st_mtime < time.time() - 600:
                    file.unlink()
    folder.stop_file.unlink(missing_ok=True)


@contextlib.contextmanager
def _captured(log: Path, inline: bool) -> Iterator[None]:
    """Standard output and error go to the trial's log; in a process of its own also what C code and children write."""
    with open(log, "a", buffering=1, encoding="utf-8", errors="replace") as file:
        if inline:
            with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
                yield
            return
        _flush()
        kept = os.dup(1), os.dup(2)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            _flush()
            for old, number in zip(kept, (1, 2), strict=True):
                os.dup2(old, number)
                os.close(old)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="studies.engine.worker", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--until-empty", action="store_true", help="go round until nothing is left to run")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args(arguments)
    stop = Stop()
    signal.signal(signal.SIGTERM, lambda *_: stop.ask("stopped"))
    signal.signal(signal.SIGUSR2, lambda *_: stop.ask("preempted"))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the driver, which asks us to stop
    parents = Parents()
    if parents.gone():
        return 1
    faulthandler.enable()
    try:
        ended = work([TrialFolder(f.resolve()) for f in given.folders], stop, given.device, parents, given.until_empty)
    except OSError as error:
        print(f"the results folder cannot be written: {error}", file=sys.stderr)
        return DISK
    return 1 if "failed" in ended else 0


if __name__ == "__main__":
    sys.exit(main())
