"""What the JSON files of a trial folder must look like: the one place where they are read.

`DamagedFile` says what does not fit. Whoever reads a file decides what follows for the trial, never for other trials.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from studies.engine.core.files import DamagedFile, is_shallow, is_unicode, load_json
from studies.engine.core.trial import STATUSES, State

Fits = Callable[[Any], bool]
LAST_MOMENT = 2e11
"""Seconds since 1970 that a date can still show."""


def is_text(value: Any) -> bool:
    return isinstance(value, str)


def is_mapping(value: Any) -> bool:
    return isinstance(value, dict)


def is_whole(value: Any) -> bool:
    return type(value) is int and abs(value) < 2**53


def is_count(value: Any) -> bool:
    return is_whole(value) and value >= 0


def is_number(value: Any) -> bool:
    """Whether it is a number that a float can hold; NaN is one."""
    return type(value) is float or (type(value) is int and abs(value) < 10**300)


def is_moment(value: Any) -> bool:
    return is_number(value) and 0 <= value < LAST_MOMENT


def are_numbers(value: Any) -> bool:
    return is_mapping(value) and all(map(is_number, value.values()))


def optional(fits: Fits) -> Fits:
    return lambda value: value is None or fits(value)


def are(fits: Fits) -> Fits:
    """Whether it is a mapping of such values."""
    return lambda value: is_mapping(value) and all(map(fits, value.values()))


def is_own_copy(value: Any) -> bool:
    """Whether it is the place of a copy of own code in a results folder, and not one outside."""
    return is_text(value) and re.fullmatch(r"code/own-[0-9a-f]{12}", value) is not None


def _are_versions(value: Any) -> bool:
    return all(are(is_text)(value.get(key, {})) for key in ("files", "installed"))


def fitted(raw: Mapping[str, Any], shape: Mapping[str, Fits], required: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the object; DamagedFile names the first key that is missing or of another shape. More keys are allowed."""
    for key, fits in shape.items():
        if key in raw and not fits(raw[key]):
            raise DamagedFile(f"is damaged: {key} has no possible value")
        if key in required and key not in raw:
            raise DamagedFile(f"is damaged: {key} is missing")
    return dict(raw)


_STATE: dict[str, Fits] = {
    "status": STATUSES.__contains__,
    "attempt": is_count,
    "step": is_whole,
    "steps": optional(is_whole),
    "heartbeat": is_moment,
    "host": is_text,
    "pid": is_count,
    "device": is_text,
    "reason": is_text,
    "permanent": lambda value: isinstance(value, bool),
    "started": is_moment,
    "ended": is_moment,
    "latest": are_numbers,
}
_SPEC = {
    "id": is_text,
    "task": is_text,
    "config": is_mapping,
    "seed": is_whole,
    "defaults": is_mapping,
    "study": is_text,
    "imports": lambda value: isinstance(value, list) and all(map(is_text, value)),
    "own": is_own_copy,
    "inputs": are(is_text),
}
_COST = dict.fromkeys(("seconds", "gpu_seconds", "peak_memory_mb", "params", "gflops"), optional(is_number))
_METRICS = dict.fromkeys(("best", "last"), is_mapping)
_RESULT: dict[str, Fits] = {
    "metrics": is_mapping,
    "cost": optional(is_mapping),
    "attempt": is_count,
    "started_from": are(are(is_text)),
    "kept_weights": are(is_text),
}
_ENVIRONMENT: dict[str, Fits] = {
    "packages": are(is_text),
    "git": lambda value: value is None or is_text(value) or is_mapping(value),
    **dict.fromkeys(("source", "code", "gpu", "host", "python", "platform"), optional(is_text)),
    "own": lambda value: is_mapping(value) and is_text(value.get("fingerprint", "")) and _are_versions(value),
    "inputs": are(is_mapping),
}
_CLAIM = {"token": is_text, "host": is_text, "machine": is_text, "pid": is_count, "born": is_text, "time": is_moment}
_CHECKPOINT = {"size": is_count, "sha256": is_text, "step": is_whole, "attempt": is_count, "seconds": is_number}


def read_state(path: Path) -> State | None:
    """Return None where there is no file, as all of these functions do."""
    raw = load_json(path)
    if raw is None:
        return None
    known = {field.name: raw[field.name] for field in dataclasses.fields(State) if field.name in raw}
    return State(**fitted(known, _STATE, ("status",)))


def read_spec(path: Path) -> dict[str, Any] | None:
    raw = load_json(path)
    return None if raw is None else fitted(raw, _SPEC, ("task", "config", "seed"))


def read_result(path: Path) -> dict[str, Any] | None:
    """A file that this accepts makes a trial done."""
    raw = load_json(path)
    if raw is None:
        return None
    fitted(raw, _RESULT, ("metrics",))
    fitted(raw["metrics"], _METRICS)
    fitted(raw.get("cost") or {}, _COST)
    return raw


def read_environment(path: Path) -> dict[str, Any] | None:
    raw = load_json(path)
    return None if raw is None else fitted(raw, _ENVIRONMENT)


def read_checkpoints(path: Path) -> dict[str, dict[str, Any]] | None:
    """Return size, digest, step and attempt of the files of a `Checkpoint`."""
    raw = load_json(path)
    if raw is None:
        return None
    entries = {key: value for key, value in raw.items() if value is not None}
    if not all(map(is_mapping, entries.values())):
        raise DamagedFile("is damaged")
    return {key: fitted(value, _CHECKPOINT, ("size", "sha256")) for key, value in entries.items()}


def claim(raw: Any) -> dict[str, Any] | None:
    """Return the owner that a claim names, None where it names none."""
    try:
        return fitted(raw, _CLAIM, ("token", "machine", "pid", "born")) if is_mapping(raw) else None
    except DamagedFile:
        return None


# ---- what a task returns


def plain_result(value: Any) -> dict[str, Any]:
    """Return a task's result as JSON has it: metrics and costs are finite numbers, by name.

    Raises:
        TypeError: names the key that is something else.
    """
    if not isinstance(value, dict) or not isinstance(value.get("metrics"), dict):
        expected = 'a task returns {"metrics": {...}, "cost": {...}}'
        raise TypeError(f"{expected}, this one returned {type(value).__name__}")
    for key in ("best", "last"):
        if not isinstance(value["metrics"].get(key, {}), Mapping):
            raise TypeError(f"metrics.{key}: a mapping of metrics is needed, not {_shown(value['metrics'][key])}")
    found = {key: _plain(item, key) for key, item in _named(value, "") if key not in ("metrics", "cost")}
    found |= {key: _plain_numbers(value.get(key) or {}, key) for key in ("metrics", "cost")}
    if mapped := [key for key in _COST if is_mapping(found["cost"].get(key))]:
        raise TypeError(f"cost.{mapped[0]}: a finite number is needed, not a mapping")
    if wrong := next((key for key, item in found.items() if not is_unicode({key: item})), None):
        raise TypeError(f"{ascii(wrong)[1:-1]}: has a text that is no Unicode")
    return found


def _named(value: Mapping[Any, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield names as text; TypeError where two become the same one, as 1 and "1" do."""
    names = [str(name) for name in value]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise TypeError(f"{prefix}{twice}: two names that are the same as text")
    return zip(names, value.values(), strict=True)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError(f"two names that are the same as text, among {', '.join(found)}")
    return found


def _plain(value: Any, key: str) -> Any:
    try:
        plain = json.loads(json.dumps(value, default=lambda item: item.item()), object_pairs_hook=_each_once)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise TypeError(f"{key}: cannot be written as JSON: {str(error)[:100]}") from error
    if not is_shallow([plain]):
        raise TypeError(f"{key}: is nested too deeply to be written")
    return plain


def _plain_numbers(value: Any, key: str, depth: int = 0) -> Any:
    if isinstance(value, Mapping) and depth < 8:
        return {name: _plain_numbers(item, f"{key}.{name}", depth + 1) for name, item in _named(value, f"{key}.")}
    try:
        number = value.item()
    except (AttributeError, ValueError, RuntimeError):  # of several elements, or no array at all
        number = value
    if number is None and depth:
        return None
    if not depth:
        raise TypeError(f"{key}: a mapping of numbers is needed, not {_shown(value)}")
    if type(number) not in (int, float) or not is_number(number) or not math.isfinite(number):
        raise TypeError(f"{key}: a finite number is needed, not {_shown(value)}; leave out what is undefined")
    return number


def _shown(value: Any) -> str:
    text = f"{type(value).__name__} {value!r}" if type(value) is not int or abs(value) < 10**300 else "a huge integer"
    return text if len(text) <= 60 else f"{text[:57]}..."
