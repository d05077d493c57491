"""submitit parameters of a job array, from resources and options. Pure functions."""

from __future__ import annotations

import math
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studies.engine.core.trial import Resources
from studies.engine.jobs.launcher import LaunchError
from studies.engine.launchers.slurm.options import RESERVED, Options, parse_minutes, too_short, whole_minutes

DEFAULT_MINUTES = 60.0
SUBMITIT_PARAMETERS = (
    "partition",
    "qos",
    "account",
    "gres",
    "constraint",
    "exclude",
    "nodelist",
    "comment",
    "dependency",
    "wckey",
)
"""Options that submitit has a parameter for; all others go in as they are."""


@dataclass(frozen=True)
class ArrayRequest:
    """One array of identical jobs."""

    trials_per_job: int
    """Parallel trials in a job."""
    parameters: dict[str, Any]
    """For submitit's SlurmExecutor."""
    python: str


def trials_per_job(resources: Resources, options: Options) -> int:
    """Return the trials in a job: `pack`, or as many as share a GPU by their fraction."""
    if resources.world > 1:
        return 1
    if options.pack is not None:
        return options.pack
    return resources.per_gpu


def array_request(
    resources: Resources, options: Options, name: str, code: Path, trials: int | None = None
) -> ArrayRequest:
    """Return the request of a job with `trials` trials (default: a full pack)."""
    full = trials_per_job(resources, options)
    side = min(full, trials or full)
    given: dict[str, Any] = {
        "job_name": name,
        "time": minutes(resources, options),
        "nodes": resources.nodes,
        "ntasks_per_node": resources.per_node if resources.world > 1 else 1,
        "cpus_per_task": max(1, resources.cpus) * side,
        "signal_delay_s": options.signal_seconds,
        "array_parallelism": options.throttle or 1_000_000,
        "stderr_to_stdout": True,
        "setup": _setup(options, code),
        "wckey": None,
    }
    more: dict[str, Any] = {"requeue": True}
    gpus = math.ceil(side / resources.per_gpu) * max(1, int(resources.gpus)) if resources.gpus > 0 else 0
    if gpus and "gpu" not in str(options.sbatch.get("gres", "")):
        given["gpus_per_node"] = gpus
    if resources.memory_gb and not any(key.startswith("mem") and key != "mem-bind" for key in options.sbatch):
        given["mem"] = f"{math.ceil(resources.memory_gb * 1024 * side)}MB"
    for key, value in options.sbatch.items():
        if key in SUBMITIT_PARAMETERS:
            given[key] = value
        elif value is not False:
            more[key] = value
    if "no-requeue" in more:
        more.pop("requeue")
    given["additional_parameters"] = more
    if options.srun:
        given["srun_args"] = list(options.srun)
    return ArrayRequest(full, given, python(options))


def names(request: ArrayRequest) -> set[str]:
    """Return the options that a request sets or that come from resources, as sbatch calls them."""
    more: dict[str, Any] = request.parameters["additional_parameters"]
    given = {key for key, value in request.parameters.items() if value is not None}
    return {key.replace("_", "-") for key in (*given, *more, *RESERVED)}


def python(options: Options) -> str:
    """Return the command that runs Python on the nodes."""
    inside = options.python or ("python3" if options.container else shlex.quote(sys.executable))
    return f"{options.container} {inside}".strip()


def minutes(resources: Resources, options: Options) -> int:
    """Return the time limit of a job in whole minutes; 0: none. LaunchError where it leaves no time to save."""
    asked = parse_minutes(options.time) if options.time is not None else resources.minutes or DEFAULT_MINUTES
    if (whole := whole_minutes(asked)) and (text := too_short(whole, options)):
        raise LaunchError(f"time limit: {text}")
    return whole


def _setup(options: Options, code: Path) -> list[str]:
    lines = [f"module load {shlex.quote(module)}" for module in options.modules]
    theirs = "" if options.container else '"${PYTHONPATH:+:$PYTHONPATH}"'  # a container has packages of its own
    return [*lines, *options.setup, f"export PYTHONPATH={shlex.quote(str(code))}{theirs} PYTHONSAFEPATH=1"]
