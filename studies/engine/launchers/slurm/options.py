"""SLURM options of studies, cluster profiles and the command line: this launcher's keys, and every option of sbatch.

sbatch gets its options as they are typed: 012345 is an account, not 12345.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from math import ceil
from typing import Any

from studies.engine.core.suggest import suggest
from studies.engine.core.typing_check import Issue, to_yaml, validate
from studies.engine.core.yaml_loader import scalar

Scalar = str | int | float | bool


@dataclass(frozen=True)
class Options:
    """This launcher's keys. Those of sbatch (`SBATCH`) are given next to them, as `partition: gpu`."""

    time: str | int | None = None
    """Time limit of a job, as sbatch writes it, or minutes; else resources.minutes, else an hour. A job saves before it
    and continues in the next one."""
    signal_seconds: int = 90
    """Seconds before its time limit at which a job is signalled to save."""
    setup: tuple[str, ...] = ()
    """Shell lines before the trials."""
    modules: tuple[str, ...] = ()
    """For `module load`."""
    container: str = ""
    """A command that runs another one inside, as ``apptainer exec --nv image.sif``."""
    python: str = ""
    """The interpreter on the nodes; default: this one's path (`python3` in a container)."""
    srun: tuple[str, ...] = ()
    """Arguments of srun."""
    pack: int | None = None
    """Parallel trials in one job; default: as many as share a GPU by their fraction."""
    throttle: int | None = None
    """Jobs of one array that may run at once."""
    max_jobs: int | None = None
    """Jobs of a study in the queue at once."""
    poll_seconds: float = 10.0
    """Seconds between two queries of the scheduler."""
    sbatch: dict[str, Scalar] = field(default_factory=dict)
    """Options of sbatch that `SBATCH` does not know yet."""


SBATCH: tuple[str, ...] = tuple(
    re.findall(
        r"\S+",
        """account acctg-freq batch bb bbf begin chdir cluster-constraint clusters comment constraint container-image
    container-mounts container-name container-workdir contiguous core-spec cores-per-socket cpu-freq cpus-per-gpu
    deadline delay-boot dependency distribution exclude exclusive export export-file extra extra-node-info
    get-user-env gpu-bind gpu-freq gpus-per-socket gres gres-flags hint hold kill-on-invalid-dep licenses mail-type
    mail-user mcs-label mem mem-bind mem-per-cpu mem-per-gpu mincpus network nice no-kill no-requeue nodefile nodelist
    ntasks-per-core overcommit oversubscribe partition power prefer priority profile propagate qos reboot reservation
    sockets-per-node spread-job switches thread-spec threads-per-core time-min tmp tres-bind use-min-nodes
    wait-all-nodes wckey""",
    )
)
FLAGS = ("contiguous", "hold", "no-requeue", "overcommit", "reboot", "spread-job", "use-min-nodes")
"""Options of sbatch without a value."""
FLAGS_OR_TEXT = ("exclusive", "get-user-env", "nice", "no-kill", "oversubscribe", "propagate")
"""Those whose value may be left out."""
RESERVED = {
    "array": "has one task per trial; `throttle` limits it",
    "nodes": "comes from resources.nodes",
    "ntasks": "comes from resources",
    "ntasks-per-node": "comes from resources.processes",
    "cpus-per-task": "comes from resources.cpus",
    "gpus": "comes from resources.gpus",
    "gpus-per-node": "comes from resources.gpus; `gres` names a kind of GPU",
    "gpus-per-task": "comes from resources.gpus",
    "signal": "is `signal_seconds` here",
    "requeue": "is always set; `no-requeue: true` takes it back",
    "output": "is in the trial's folder: `studies logs`",
    "error": "is in the trial's folder: `studies logs`",
    "open-mode": "is always append",
    "job-name": "is the study's name, by which its jobs are found again",
    "wrap": "trials are what the job runs",
    "parsable": "is not needed",
}
KEYS = tuple(f.name for f in fields(Options))
NUMBERS = ("time", "signal_seconds", "pack", "throttle", "max_jobs", "poll_seconds")
MAX_SIGNAL_SECONDS = 65535
MEMORY = ("mem", "mem-per-cpu", "mem-per-gpu", "tmp")


def read_options(given: Mapping[str, Any], found: list[Issue], path: tuple[str | int, ...] = ()) -> Options:
    """Return the options; those of sbatch are in `sbatch`, under the names that sbatch uses."""
    given = {key: _number(value) if str(key) in NUMBERS else value for key, value in given.items()}
    own: dict[str, Any] = {}
    native: dict[str, Scalar] = {}
    for key, value in given.items():
        name = str(key).replace("_", "-")
        if key in KEYS:
            own[key] = [value] if key in ("setup", "modules", "srun") and isinstance(value, str) else value
        elif name in RESERVED:
            found.append(Issue((*path, key), f"{key} {RESERVED[name]}", at_key=True))
        elif name in native:
            found.append(Issue((*path, key), f"{name} twice, with dashes and with underscores", at_key=True))
        elif name in SBATCH:
            native[name] = validate(Scalar, value, found, (*path, key))
            found.extend(_flags({key: native[name]}, path))
        else:
            text = f"no option of sbatch or ours{suggest(str(key), _spelled(str(key)))}"
            found.append(Issue((*path, key), text, at_key=True))
    before = len(found)
    options = validate(Options, own, found, path)
    if len(found) > before:
        return Options()
    found.extend(_misplaced(options.sbatch, native, (*path, "sbatch")))
    merged = {**native, **{str(k).replace("_", "-"): v for k, v in options.sbatch.items()}}
    found.extend(_broken_lines(given, path))
    found.extend(_amounts(options, path))
    found.extend(_memory(merged, path))
    if len(found) > before:
        return Options()
    return Options(**{**{f.name: getattr(options, f.name) for f in fields(Options)}, "sbatch": merged})


def _misplaced(
    given: Mapping[str, Scalar], native: Mapping[str, Scalar], path: tuple[str | int, ...]
) -> Iterator[Issue]:
    """Yield what is under `sbatch` and is no option of sbatch's that goes there. native: those given next to it."""
    names = [*native, *(key.replace("_", "-") for key in given)]
    for key in given:
        name = key.replace("_", "-")
        if names.count(name) > 1:
            yield Issue((*path, key), f"{name} twice", at_key=True)
        elif name in RESERVED:
            yield Issue((*path, key), f"{key} {RESERVED[name]}", at_key=True)
        elif name == "time":
            yield Issue((*path, key), "time is given next to `sbatch`, not in it", at_key=True)
        elif not re.fullmatch(r"[a-z][a-z0-9-]*", name):
            yield Issue((*path, key), f"{to_yaml(key)} is no name of an option", at_key=True)
    yield from _broken_lines(given, path)
    yield from _flags({key: value for key, value in given.items() if key.replace("_", "-") in SBATCH}, path)


def _flags(given: Mapping[str, Any], path: tuple[str | int, ...]) -> Iterator[Issue]:
    """Yield options whose value is one of the other kind: sbatch would get `--partition` alone, or `--hold=1`."""
    for key, value in given.items():
        name = key.replace("_", "-")
        if isinstance(value, bool) and name not in (*FLAGS, *FLAGS_OR_TEXT):
            yield Issue((*path, key), f"{to_yaml(value)} is not text; in quotes it is")
        elif name in FLAGS and not isinstance(value, bool):
            yield Issue((*path, key), f"{to_yaml(value)} is not true or false")


def _broken_lines(given: Mapping[str, Any], path: tuple[str | int, ...]) -> Iterator[Issue]:
    """Yield the options that would begin another line of the sbatch file, where it may be an option of its own."""
    for key, value in given.items():
        if isinstance(value, str) and not value.isprintable() and key != "setup":
            yield Issue((*path, key), "a line break or control character cannot be part of an option")


def _number(value: Any) -> Any:
    """Return the number that a text of a study file is, where the option is one of ours."""
    return scalar(value) if isinstance(value, str) else value


def parse_minutes(time: str | int) -> float:
    """Parse sbatch's time formats: minutes (0: no limit), m:s, h:m:s, d-h, d-h:m, d-h:m:s, UNLIMITED."""
    if str(time).strip().lower() in ("infinite", "unlimited"):
        return 0.0
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", str(time).strip())
    if match is None:
        raise ValueError(f"{to_yaml(time)} is no time as sbatch writes it, like 90, 1:30:00 or 2-12")
    days, first, second, third = (int(part) if part else None for part in match.groups())
    assert first is not None
    if days is not None:
        return days * 1440 + first * 60 + (second or 0) + (third or 0) / 60
    if third is not None:
        return first * 60 + (second or 0) + third / 60
    return first + (second or 0) / 60


def _amounts(options: Options, path: tuple[str | int, ...]) -> Iterator[Issue]:
    for name in ("pack", "throttle", "max_jobs", "signal_seconds", "poll_seconds"):
        value = getattr(options, name)
        if value is not None and (value <= 0 if name == "poll_seconds" else value < 1):
            yield Issue((*path, name), f"{value:g} is too little")
    if options.signal_seconds > MAX_SIGNAL_SECONDS:
        yield Issue(
            (*path, "signal_seconds"), f"{options.signal_seconds} is more than sbatch takes, {MAX_SIGNAL_SECONDS}"
        )
    try:
        minutes = whole_minutes(parse_minutes(options.time)) if options.time is not None else 0
    except ValueError as error:
        yield Issue((*path, "time"), str(error))
    else:
        if minutes and (text := too_short(minutes, options)):
            yield Issue((*path, "time"), text)


def whole_minutes(minutes: float) -> int:
    """Return what a job asks for: SLURM counts whole minutes, and 0 is no limit."""
    return max(1, ceil(minutes)) if minutes else 0


def too_short(minutes: int, options: Options) -> str:
    """Return what is wrong with a time limit that leaves no time before the signal to save; empty if it does."""
    if minutes * 60 > options.signal_seconds:
        return ""
    return (
        f"{minutes * 60} s are not above signal_seconds {options.signal_seconds}: a job would be told to save when it "
        "starts; set a longer time or a smaller signal_seconds"
    )


def _memory(given: Mapping[str, Any], path: tuple[str | int, ...]) -> Iterator[Issue]:
    for key in MEMORY:
        value = given.get(key, "0")
        good = isinstance(value, bool | list | dict) or re.fullmatch(r"[0-9]+([KMGT]B?)?", str(value).strip(), re.I)
        if not good:  # of another kind: reported as such
            text = f"{to_yaml(value)} is no amount of memory as sbatch writes it: a whole number and K, M, G or T"
            yield Issue((*path, key), text + _whole(str(value)))


def _whole(value: str) -> str:
    """Suggest the same amount as sbatch writes it."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT])(?:i?B)?", value.strip(), re.IGNORECASE)
    if match is None:
        return ", like 16G"
    number, unit = float(match[1]), match[2].upper()
    if number.is_integer():
        return f", like {number:.0f}{unit}"
    smaller = {"T": "G", "G": "M", "M": "K"}.get(unit)
    return f", like {ceil(number * 1024)}{smaller}" if smaller else f", like {ceil(number)}{unit}"


def _spelled(like: str) -> list[str]:
    """Return every known key, with dashes or underscores as the user writes them."""
    dash = "-" in like
    return [*KEYS, *(name if dash else name.replace("-", "_") for name in SBATCH)]
