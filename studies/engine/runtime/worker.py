"""Runs trials: ``python -m studies.engine.worker [--until-empty] [--device cuda:0] FOLDER...``

One process runs its trial folders one after another, so that slow imports happen once. A folder that is done, held by
a live worker, or failed (the driver decides about retries) is skipped. Standard library only, and the task.
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

from studies.engine.core.files import write_atomic
from studies.engine.core.last_collections import skip_last_collections
from studies.engine.core.stop import StopRequest
from studies.engine.core.trial import State, Status
from studies.engine.runtime import first_trials, own_modules, task_loader
from studies.engine.runtime.context import TrialContext
from studies.engine.runtime.distributed import env
from studies.engine.runtime.distributed.leader import RankServer
from studies.engine.runtime.heartbeat import Heartbeat, ParentMonitor
from studies.engine.runtime.outcome import (
    classify_distributed_outcome,
    classify_outcome,
    describe_exception,
    is_permanent,
)
from studies.engine.runtime.output_capture import capture_output, flush, timeout_interrupt
from studies.engine.runtime.system_use import SystemUse
from studies.engine.storage import environment, records
from studies.engine.storage.checkpoint import keeps_checkpoint
from studies.engine.storage.fence import Fence, LeaseLost
from studies.engine.storage.trial_folder import TrialFolder

RUNNABLE = ("planned", "queued", "preempted")
MINUTES_VARIABLE = "DYNVIT_MINUTES"
"""Environment variable: time limit of an attempt in minutes, where the launcher enforces none."""
EXIT_IO_ERROR = 74
"""Exit code where the results folder could not be written (EX_IOERR)."""


def run_distributed_rank(
    folder: TrialFolder, me: env.RankInfo, stop: StopRequest, device: str, parents: ParentMonitor, minutes: float | None
) -> NoReturn:
    """Run one attempt as one of several processes and exit without cleanup: torch's threads might wait for the other
    ranks for ever."""
    if me.rank:
        from studies.engine.runtime.distributed.follower import run_follower

        code = run_follower(folder.path, me, device, stop, parents, describe_exception)
    else:
        with RankServer(folder.path, me) as ranks:
            code = int(run_attempt(folder, stop, device, parents, ranks=ranks, minutes=minutes) in ("failed", "lost"))
    flush()
    os._exit(code)


def run_trials(
    folders: Sequence[TrialFolder],
    stop: StopRequest,
    device: str,
    parents: ParentMonitor | None,
    until_empty: bool = False,
    minutes: float | None = None,
) -> list[Status]:
    """Run the runnable `folders` in this worker process; return the status of each attempt."""
    ended: list[Status] = []
    problem: OSError | None = None
    while True:
        before = len(ended)
        for folder in folders:
            if stop:
                return ended
            try:
                status = run_attempt(folder, stop, device, parents, minutes=minutes)
            except OSError as error:  # of this folder, perhaps: the others are tried too
                problem, status = problem or error, None
            if status is not None:
                ended.append(status)
            if status == "failed" and folder.state().reason.startswith("oom"):
                return ended  # only a new process frees the device's memory reliably
        if len(ended) == before or not until_empty:
            break
    if problem is not None:
        raise problem
    return ended


def run_attempt(
    folder: TrialFolder,
    stop: StopRequest,
    device: str = "cpu",
    parents: ParentMonitor | None = None,
    inline: bool = False,
    ranks: RankServer | None = None,
    minutes: float | None = None,
) -> Status | None:
    """Run one attempt; None if the trial is not runnable or another worker has it. inline: in the driver's process."""
    if folder.state().status not in RUNNABLE:
        return None
    token = folder.acquire_lease()
    if token is None:
        return None
    try:
        state = folder.state()  # read again: another worker may have run it before the lease was acquired
        if state.status not in RUNNABLE:
            return None
        fence = Fence(folder, token, state.attempt)
        fence.remove_partial_files()
        fence.verify()
        if not folder.begin_attempt(fence.attempt):
            return None
        now = time.time()
        running = State("running", state.attempt + 1, host=socket.gethostname(), pid=os.getpid(), device=device)
        running = replace(running, started=state.started or now, heartbeat=now)
        fence.set_state(running)
        log = folder.attempt_folder(fence.attempt) / "log.txt"
        with capture_output(log, inline), timeout_interrupt(inline) as interrupt:
            return _run(fence, running, stop, parents, ranks, minutes, interrupt)
    except LeaseLost:
        return None
    except OSError:
        if folder.holds_lease(token):
            raise
        return None  # the worker that has taken over cleared this one's files away
    finally:
        folder.release_lease(token)


def _run(
    fence: Fence,
    running: State,
    stop: StopRequest,
    parents: ParentMonitor | None,
    ranks: RankServer | None,
    minutes: float | None,
    interrupt: Callable[[str], None] | None,
) -> Status | None:
    began, folder = time.monotonic(), fence.folder
    here = folder.attempt_folder(fence.attempt)
    spec = folder.spec() or {}
    found = {**environment.describe(running.device), **environment.of_spec(spec, folder.path.parents[1])}
    write_atomic(here / "env.json", json.dumps(found, indent=1) + "\n", durable=False)
    context = TrialContext(fence, spec.get("seed", 0), running.device, stop, ranks)
    context.log_text(f"trial {folder.id}, attempt {running.attempt}, process {running.pid} on {running.host}")
    heartbeat = Heartbeat(fence, running, context, stop, parents)
    heartbeat.minutes = minutes
    heartbeat.on_timeout = interrupt or (lambda reason: abort(fence, heartbeat, "failed", reason))
    status: Status = "failed"
    permanent = False
    try:
        with heartbeat, SystemUse(fence, running.device):
            spec, taken = first_trials.prepare(spec, folder)
            if ranks is not None:
                ranks.abort = lambda reason: abort(fence, heartbeat, "lost", reason)
                _wait_for_ranks(ranks, spec, context)
            result = run_spec(spec, context)
            if ranks is not None:
                ranks.finish()
        result["cost"].setdefault("seconds", round(context.seconds, 3))
        result |= first_trials.records(folder, keeps_checkpoint(spec["config"]), taken)
        fence.set_result(result)
        status, reason = "done", ""
    except LeaseLost:
        context.log_text("another worker has taken over this trial; this process writes nothing more")
        raise
    except BaseException as error:
        status, reason = classify_outcome(error, stop, context)
        if ranks is not None and status == "failed" and reason != "oom":
            status, reason = classify_distributed_outcome(ranks, context, reason)
        permanent = status == "failed" and is_permanent(error)
        if status in ("failed", "lost"):
            traceback.print_exc()
            traceback.clear_frames(error.__traceback__)  # releases the task's objects
        if isinstance(error, KeyboardInterrupt):
            with contextlib.suppress(LeaseLost):
                fence.set_state(replace(heartbeat.state(), status=status, reason=reason, ended=time.time()))
            raise
    finally:
        context.close(remove_checkpoint=status == "done" and not keeps_checkpoint(spec.get("config")))
    ended = replace(heartbeat.state(), status=status, reason=reason, permanent=permanent, ended=time.time())
    fence.set_state(ended)
    context.log_text(f"{status} after {time.monotonic() - began:.1f} s" + (f": {reason}" if reason else ""))
    if status == "failed":
        gc.collect()
    return status


def run_spec(spec: dict[str, Any], context: TrialContext) -> dict[str, Any]:
    """Return the task's result as JSON values: {"metrics": {...}, "cost": {...}}."""
    if "task" not in spec or "config" not in spec:
        raise ValueError("spec.json is missing or damaged")
    task = own_modules.load(spec, context.folder.parents[1])
    return records.plain_result(task_loader.run_task(task, spec["config"], context))


def _wait_for_ranks(ranks: RankServer, spec: dict[str, Any], context: TrialContext) -> None:
    """Wait for the other processes and send them this attempt's spec and checkpoint."""
    ranks.wait_for_ranks(spec, context.load(), lambda: context.stop_requested)
    context.log_text(f"{ranks.world} processes, this is the first")


def abort(fence: Fence, heartbeat: Heartbeat, status: Status, reason: str) -> None:
    """Exit this process, which hangs in something that cannot be interrupted."""
    try:
        fence.set_state(replace(heartbeat.state(), status=status, reason=reason, ended=time.time()))
        print(f"{status}: {reason}; no step finished in time; aborting the process", flush=True)
    finally:
        os._exit(1)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="studies.engine.worker", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--until-empty", action="store_true", help="repeat until nothing is left to run")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args(arguments)
    stop = StopRequest()
    stop_status: Status = "preempted" if os.environ.get("DYNVIT_SCHEDULED") else "stopped"  # queues requeue jobs
    signal.signal(signal.SIGTERM, lambda *_: stop.request(stop_status))
    signal.signal(signal.SIGUSR2, lambda *_: stop.request("preempted"))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver, which asks its workers to stop
    parents = ParentMonitor()
    if parents.dead():
        return 1
    faulthandler.enable()
    skip_last_collections()
    # not resolved: where trials lie behind a link, the results folder with the own code is still the one named here
    folders = [TrialFolder(f.absolute()) for f in given.folders]
    me, minutes = env.current_rank(), float(os.environ.get(MINUTES_VARIABLE) or 0) or None
    try:
        if me.world > 1:
            run_distributed_rank(folders[0], me, stop, env.rank_device(given.device, me), parents, minutes)
        ended = run_trials(folders, stop, given.device, parents, given.until_empty, minutes)
    except OSError as error:
        print(f"the results folder cannot be written: {error}", file=sys.stderr)
        return EXIT_IO_ERROR
    return 1 if "failed" in ended else 0
