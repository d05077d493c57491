"""Which variables of the user's shell SLURM's commands see: none that would change what we ask of them.

A variable counts for more than a line of the sbatch file, and filters what squeue lists.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator, Mapping

OF_QUERIES = ("SQUEUE_", "SCANCEL_", "SACCT_", "SLURM_CLUSTERS")
"""Filters and forms of output, and scancel's questions, which nobody would answer."""
OPTIONS = {"timelimit": "time", "array-inx": "array", "mem-per-node": "mem", "no-requeue": "requeue"}
"""Options of sbatch whose variable has another name: SBATCH_TIMELIMIT."""
NEVER = ("wait", "debug")
"""sbatch would wait for the end of the job, or print more than the job's id."""


def query_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    return {key: value for key, value in environ.items() if not key.startswith(OF_QUERIES)}


@contextlib.contextmanager
def submission_environment(given: Collection[str]) -> Iterator[None]:
    """Hide what would change a submission: SLURM's variables where the driver itself runs in a job, and those for
    options that the job sets. given: names of these options, as sbatch has them."""
    hidden = {key: value for key, value in os.environ.items() if _changes(key, given)}
    for key in hidden:
        del os.environ[key]
    try:
        yield
    finally:
        os.environ.update(hidden)


def _changes(variable: str, given: Collection[str]) -> bool:
    if not variable.startswith("SBATCH_"):
        return variable.startswith("SLURM_") and variable != "SLURM_CONF"
    name = variable.removeprefix("SBATCH_").lower().replace("_", "-")
    return OPTIONS.get(name, name) in given or name in NEVER
