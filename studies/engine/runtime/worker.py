"""Runs trials: ``python -m studies.engine.worker [--until-empty] [--device cuda:0] FOLDER...``

One process takes its trial folders one after another, so that what is slow to import is imported once. A folder that
is done, claimed by a live worker, or failed (whether to try again is for the driver to decide) is passed over. Standard
library only, and the task.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import gc
import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from studies.engine.catalog.tasks import load_task
from studies.engine.core.trial import State, Status
from studies.engine.runtime.context import Abandoned, Stop, TrialContext
from studies.engine.runtime.distributed import env
from studies.engine.runtime.distributed.leader import Gang
from studies.engine.runtime.heartbeat import Parents, Pulse
from studies.engine.runtime.outcome import name_of, shared_verdict, verdict
from studies.engine.runtime.output_capture import alarm, captured, flush
from studies.engine.storage import environment
from studies.engine.storage.trial_folder import TrialFolder, write_atomic

RUNNABLE = ("planned", "queued", "preempted")
MINUTES = "DYNVIT_MINUTES"
"""Environment variable: how long an attempt may take, where the launcher has no clock of its own for that."""
DISK = 74
"""Exit code where the results folder could not be written (EX_IOERR)."""


def together(
    folder: TrialFolder, me: env.Ranks, stop: Stop, device: str, parents: Parents, minutes: float | None
) -> NoReturn:
    """One attempt at one trial as one of several processes, and the end of this one: what torch left running in it
    might wait for the others for ever."""
    if me.rank:
        from studies.engine.runtime.distributed.follower import follow

        code = follow(folder.path, me, device, stop, parents, name_of)
    else:
        with Gang(folder.path, me) as gang:
            code = int(attempt(folder, stop, device, parents, gang=gang, minutes=minutes) in ("failed", "lost"))
    flush()
    os._exit(code)


def work(
    folders: Sequence[TrialFolder],
    stop: Stop,
    device: str,
    parents: Parents | None,
    until_empty: bool = False,
    minutes: float | None = None,
) -> list[Status]:
    """Run what may be run in `folders`, in a process of its own; how each of them ended."""
    ended: list[Status] = []
    while True:
        before = len(ended)
        for folder in folders:
            if stop:
                return ended
            status = attempt(folder, stop, device, parents, minutes=minutes)
            if status is not None:
                ended.append(status)
            if status == "failed" and folder.state().reason.startswith("oom"):
                return ended  # the device's memory is best cleaned by a new process
        if len(ended) == before or not until_empty:
            return ended


def attempt(
    folder: TrialFolder,
    stop: Stop,
    device: str = "cpu",
    parents: Parents | None = None,
    inline: bool = False,
    gang: Gang | None = None,
    minutes: float | None = None,
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
        with captured(here / "log.txt", inline), alarm(inline) as insist:
            return _run(folder, token, running, stop, parents, gang, minutes, insist)
    finally:
        folder.release(token)


def _run(
    folder: TrialFolder,
    token: str,
    running: State,
    stop: Stop,
    parents: Parents | None,
    gang: Gang | None,
    minutes: float | None,
    insist: Callable[[str], None] | None,
) -> Status | None:
    began = time.monotonic()
    here = folder.attempt_folder(running.attempt - 1)
    write_atomic(here / "env.json", json.dumps(environment.describe(running.device), indent=1) + "\n", durable=False)
    spec = folder.spec() or {}
    context = TrialContext(folder, running.attempt - 1, int(spec.get("seed", 0)), running.device, stop, gang)
    context.log_text(f"trial {folder.id}, attempt {running.attempt}, process {running.pid} on {running.host}")
    pulse = Pulse(folder, token, running, context, stop, parents)
    pulse.minutes, pulse.insist = minutes, insist or (lambda reason: _give_up(folder, pulse, "failed", reason))
    status: Status = "failed"
    try:
        with pulse:
            if gang is not None:
                gang.give_up = lambda reason: _give_up(folder, pulse, "lost", reason)
                _assemble(gang, spec, context, stop)
            result = _call(spec, context)
            if gang is not None:
                gang.finish()
        result["cost"].setdefault("seconds", round(time.monotonic() - began, 3))
        folder.set_result({"schema": 1, **result})
        status, reason = "done", ""
    except Abandoned:
        context.log_text("another worker has taken this trial over: nothing more is written here")
        return None
    except BaseException as error:
        status, reason = verdict(error, stop, context)
        if gang is not None and status == "failed" and reason != "oom":
            status, reason = shared_verdict(gang, context, reason)
        if status in ("failed", "lost"):
            traceback.print_exc()
            traceback.clear_frames(error.__traceback__)  # lets go of what the task held
        if isinstance(error, KeyboardInterrupt):
            folder.set_state(replace(pulse.state(), status=status, reason=reason, ended=time.time()))
            raise
    finally:
        context.close(forget=status == "done" and not _kept(spec.get("config")))
    folder.set_state(replace(pulse.state(), status=status, reason=reason, ended=time.time()))
    context.log_text(f"{status} after {time.monotonic() - began:.1f} s" + (f": {reason}" if reason else ""))
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


def _assemble(gang: Gang, spec: dict[str, Any], context: TrialContext, stop: Stop) -> None:
    """Wait for the other processes and tell them what this attempt is."""
    checkpoint = context.load()
    start = {"spec": spec, "address": gang.address, "checkpoint": str(checkpoint) if checkpoint else None}
    gang.assemble(start, lambda: context.asked)
    context.log_text(f"{gang.world} processes, this is the first")


def _give_up(folder: TrialFolder, pulse: Pulse, status: Status, reason: str) -> None:
    """End this process, which hangs in something that cannot be interrupted."""
    folder.set_state(replace(pulse.state(), status=status, reason=reason, ended=time.time()))
    print(f"{status}: {reason}; this process does not come to a step's end and is ended", flush=True)
    os._exit(1)


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


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="studies.engine.worker", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--until-empty", action="store_true", help="go round until nothing is left to run")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args(arguments)
    stop = Stop()
    word: Status = "preempted" if os.environ.get("DYNVIT_SCHEDULED") else "stopped"  # a queue's jobs come back
    signal.signal(signal.SIGTERM, lambda *_: stop.ask(word))
    signal.signal(signal.SIGUSR2, lambda *_: stop.ask("preempted"))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the driver, which asks us to stop
    parents = Parents()
    if parents.gone():
        return 1
    faulthandler.enable()
    folders = [TrialFolder(f.resolve()) for f in given.folders]
    me, minutes = env.here(), float(os.environ.get(MINUTES) or 0) or None
    try:
        if me.world > 1:
            together(folders[0], me, stop, env.device(given.device, me), parents, minutes)
        ended = work(folders, stop, given.device, parents, given.until_empty, minutes)
    except OSError as error:
        print(f"the results folder cannot be written: {error}", file=sys.stderr)
        return DISK
    return 1 if "failed" in ended else 0
