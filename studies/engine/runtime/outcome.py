"""How an attempt ended, by the exception that ended it."""

from __future__ import annotations

import errno
import traceback

from studies.engine.core.trial import Status
from studies.engine.runtime.context import Stop, TrialContext
from studies.engine.runtime.distributed.leader import Broken, Gang

BLAME = 2.0
"""Seconds after a failure in which it may turn out that another process of the same trial was its cause."""


class Overtime(BaseException):
    """Raised within a trial that does not see that its time is over."""


def verdict(error: BaseException, stop: Stop, context: TrialContext) -> tuple[Status, str]:
    names = {cls.__name__ for cls in type(error).__mro__}  # by name: importing the task's package here would cost torch
    if context.overtime and ("Stopped" in names or isinstance(error, Overtime)):
        return "failed", context.overtime
    if "Stopped" in names and stop.status is not None:
        return stop.status, ""
    if isinstance(error, KeyboardInterrupt):
        return "stopped", "interrupted"
    return "failed", name_of(error)


def name_of(error: BaseException) -> str:
    """An exception in one line; `oom` where memory was too small."""
    if isinstance(error, Broken):
        return str(error)
    if isinstance(error, MemoryError) or "OutOfMemoryError" in {cls.__name__ for cls in type(error).__mro__}:
        return "oom"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full: {error}"
    told = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
    module = f"{type(error).__module__}."  # where a class is defined helps nobody; its log has it
    return told.removeprefix(module)[:300]


def shared_verdict(gang: Gang, context: TrialContext, reason: str) -> tuple[Status, str]:
    """Where one of the other processes ended first, that is the reason, not what came of it here."""
    blamed = gang.blame(BLAME)
    if gang.told:
        context.log_text(f"from another process:\n{gang.told}")
    if not blamed:
        return "failed", reason
    return ("failed" if gang.told else "lost"), blamed
