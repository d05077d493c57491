"""Status and reason of an attempt, from the exception that ended it."""

from __future__ import annotations

import errno
import re
import traceback
from pathlib import Path

from studies.engine.core.secrets import hide_secrets
from studies.engine.core.stop import StopRequest
from studies.engine.core.trial import Status
from studies.engine.runtime.context import TrialContext
from studies.engine.runtime.distributed.leader import RankLost, RankServer

FAILED_RANK_SECONDS = 2.0
"""Seconds after a failure in which another process of the same trial may turn out to be its cause."""

PERMANENT = (
    FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, ImportError, SyntaxError,
    IndexError, NameError, NotImplementedError,
)  # fmt: skip
SHAPES = re.compile(
    r"shapes? .*(cannot be multiplied|is invalid for input|mismatch|must match)|size of tensor|sizes of tensors must"
    r"|to have \d+ channels|output with shape|expand\(|not broadcastable|could not be broadcast", re.IGNORECASE,
)  # fmt: skip
"""How torch and numpy say that arrays do not fit each other, in errors of general types."""


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
    """Return an exception in one line of printable text; `oom` where memory ran out."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in hide_secrets(_described(error)))


def _described(error: BaseException) -> str:
    if isinstance(error, RankLost):
        return str(error)
    if isinstance(error, MemoryError) or "OutOfMemoryError" in {cls.__name__ for cls in type(error).__mro__}:
        return "oom"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full: {error}"
    name = type(error).__name__  # its module is in the log's traceback
    if isinstance(error, SyntaxError):
        return traceback.format_exception_only(error)[-1].strip().removeprefix(f"{type(error).__module__}.")[:300]
    return f"{name}: {text}"[:300] if (text := _informative(error)) else f"{name} {_place(error)}".strip()


def is_permanent(error: BaseException) -> bool:
    """Return whether the same attempt would fail again: a file or module that is missing, forbidden or of another kind,
    a mistake in code, shapes that do not fit, or what a task marks by an attribute `permanent`, such as options and
    weights that do not fit."""
    if bool(getattr(error, "permanent", False)) or isinstance(error, PERMANENT):
        return True
    return isinstance(error, RuntimeError | ValueError) and bool(SHAPES.search(_informative(error)))


def _informative(error: BaseException) -> str:
    """Return the first line of the message that says something; a line that ends in a colon goes on in the next."""
    if isinstance(error, KeyError):
        return str(error)
    try:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    except Exception:  # the task's own class, whose text cannot be made
        return ""
    first = next((i + 1 for i, line in enumerate(lines) if not line.endswith(":")), len(lines))
    return " ".join(lines[:first])


def _place(error: BaseException) -> str:
    """Return where an exception without a message was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"in {frames[-1].name} ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""


def classify_distributed_outcome(ranks: RankServer, context: TrialContext, reason: str) -> tuple[Status, str]:
    """Return the outcome of a failed rank 0: another rank that ended first is the reason."""
    cause = ranks.failed_rank(FAILED_RANK_SECONDS)
    if ranks.traceback:
        context.log_text(f"from another process:\n{ranks.traceback}")
    if not cause:
        return "failed", reason
    return ("failed" if ranks.traceback else "lost"), cause
