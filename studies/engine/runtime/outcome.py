"""Status and reason of an attempt, from the exception that ended it."""

from __future__ import annotations

import errno
import traceback

from studies.engine.core.stop import StopRequest
from studies.engine.core.trial import Status
from studies.engine.runtime.context import TrialContext
from studies.engine.runtime.distributed.leader import RankLost, RankServer

FAILED_RANK_SECONDS = 2.0
"""Seconds after a failure in which another process of the same trial may turn out to be its cause."""


class TimeLimitExceeded(BaseException):
    """Raised in a trial that runs on after its time limit."""


def classify_outcome(error: BaseException, stop: StopRequest, context: TrialContext) -> tuple[Status, str]:
    names = {cls.__name__ for cls in type(error).__mro__}  # by name: importing the task's package here would cost torch
    if context.time_limit_reason and ("Stopped" in names or isinstance(error, TimeLimitExceeded)):
        return "failed", context.time_limit_reason
    if "Stopped" in names and stop.status is not None:
        return stop.status, ""
    if isinstance(error, KeyboardInterrupt):
        return "stopped", "interrupted"
    return "failed", describe_exception(error)


def describe_exception(error: BaseException) -> str:
    """Return an exception in one line; `oom` where memory ran out."""
    if isinstance(error, RankLost):
        return str(error)
    if isinstance(error, MemoryError) or "OutOfMemoryError" in {cls.__name__ for cls in type(error).__mro__}:
        return "oom"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full: {error}"
    line = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
    return line.removeprefix(f"{type(error).__module__}.")[:300]  # the module is in the log's traceback


def classify_distributed_outcome(ranks: RankServer, context: TrialContext, reason: str) -> tuple[Status, str]:
    """Return the outcome of a failed rank 0: another rank that ended first is the reason."""
    cause = ranks.failed_rank(FAILED_RANK_SECONDS)
    if ranks.traceback:
        context.log_text(f"from another process:\n{ranks.traceback}")
    if not cause:
        return "failed", reason
    return ("failed" if ranks.traceback else "lost"), cause
