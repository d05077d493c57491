"""Own data sets, losses and metrics tried before a trial is launched: each is called once, as a trial will call it."""

from __future__ import annotations

import json
import re
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from dynvit.config.data import KNOWN_SETS
from dynvit.config.extensions import DATA_SETS, VERSION
from dynvit.data.factory import index_dataset
from dynvit.data.paths import find_root
from dynvit.data.sampling import check_batch
from dynvit.train.own_code.loss import loss_fault
from dynvit.train.own_code.metrics import metric_fault

MOST_SECONDS = 10
"""That a data set may take; one that takes longer is first called in the trial."""
REMEMBERED_SECONDS = 5
"""For which a failure stands: whoever mends a file asks again later, the arms of one study at once."""
ELSEWHERE = re.compile(r"not found|no such|not exist|download|offline|connect", re.IGNORECASE)
"""Errors of libraries for files that need not be on this machine."""
NOT_KEPT: dict[str, Any] = {"cwd": None, "environ": {}, "places": {}}
"""As `folders` of an answer: it depends on files that nobody knows, so that it is never taken from a cache."""


class TooSlow(BaseException):
    """Raised in own code; not an Exception, which own code may catch."""


@dataclass(frozen=True)
class Tried:
    """What a data set turned out to be: why it cannot be used, what to remark, and its classes, None where unknown."""

    refusal: str = ""
    caution: str = ""
    classes: int | None = None
    images: int | None = None


def refusal(config: Any, work: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the answer that own code of a config cannot be used, with the reason; empty if it can."""
    tried = {key: _tried(key, data) for key, data in _own_sets(config)}
    if text := next((found.refusal for found in tried.values() if found.refusal), ""):
        return {"refusal": text, "folders": NOT_KEPT}
    ours, data = tried.get("data", Tried()), getattr(config, "data", None)
    if ours.images is not None and hasattr(config, "train"):
        try:
            check_batch(ours.images, config.train.batch_size, data.name)
        except ValueError as error:
            return {"refusal": f"train.batch_size: {error}", "folders": NOT_KEPT}
    classes = ours.classes or (work["classes"] if work else None)
    if classes and getattr(config, "loss", None) and (text := loss_fault(config, classes)):
        return {"refusal": f"loss: {text}"}
    says = data and (data.name in KNOWN_SETS or data.classes or data.labels or _declared(data.name))
    if data and (text := metric_fault(classes if ours.classes or says else None)):
        return {"refusal": text}
    return {}


def _declared(name: str) -> int | None:
    return DATA_SETS[name].classes if name in DATA_SETS else None


def cautions(config: Any) -> list[str]:
    """Return what is to be remarked about own data sets that can be used."""
    return [found.caution for key, data in _own_sets(config) if (found := _tried(key, data)).caution]


def _own_sets(config: Any) -> Iterator[tuple[str, Any]]:
    if getattr(getattr(config, "data", None), "name", None) in DATA_SETS:
        yield "data", config.data
    source = getattr(config, "source", None)
    if getattr(source, "epochs", 0) and source.data.name in DATA_SETS:
        yield "source.data", source.data


def _tried(key: str, data: Any) -> Tried:
    question = (key, json.dumps(asdict(data), sort_keys=True, default=str), VERSION.number)
    when, found = _FOUND.get(question, (0.0, None))
    if found is None or (found.refusal and time.monotonic() - when > REMEMBERED_SECONDS):
        found = _try(key, data)
        _FOUND[question] = time.monotonic(), found
    return found


_FOUND: dict[tuple[str, str, int], tuple[float, Tried]] = {}


def _try(key: str, data: Any) -> Tried:
    own = DATA_SETS[data.name]
    if "root" in own.given and data.root:
        try:
            find_root(data)
        except FileNotFoundError:  # may be where the trials run: the task's own warning
            return Tried()
    try:
        with _limited(MOST_SECONDS):
            index = index_dataset(data)
    except TooSlow:
        return Tried(caution=f"{key}.name: {data.name} takes more than {MOST_SECONDS} s and was not tried "
                     "(studies doctor --data does it)")  # fmt: skip
    except SystemExit as error:
        return Tried(refusal=f"{key}.name: the data set {data.name} ends the program: SystemExit: {error}")
    except Exception as error:
        text = str(error)
        if isinstance(error, OSError) or isinstance(error.__cause__, OSError) or ELSEWHERE.search(text):
            return Tried(caution=f"{key}.name: {text}, on this machine: it must work where the trials run")
        return Tried(refusal=f"{key}.name: {text}")
    copied = [remark.text for remark in index.remarks if remark.level == "attention"]
    caution = f"{key}.name: {data.name}: {'; '.join(copied)}" if copied else ""
    return Tried(caution=caution, classes=len(index.classes), images=len(index.train))


@contextmanager
def _limited(seconds: int) -> Iterator[None]:
    """Raise TooSlow in the block after some time; only the main thread can be interrupted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: Any) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
