"""Records of submitted jobs, by which a later driver, or `stop` and `logs` from another shell, finds them. Standard
library only.

A record is a folder ``results/slurm/<token>`` with `jobs.json`, written before the submission and once more with the
job's id after it; its job name ends in the token. Ids alone are not enough: a scheduler may reuse them.
"""

from __future__ import annotations

import json
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from studies.engine.core.files import read_json, write_atomic
from studies.engine.storage.trial_folder import TrialFolder

FOLDER = "slurm"
QUEUE_EXIT_SECONDS = 120.0
"""Seconds after its last trial's end within which a job leaves the queue."""
MAX_AGE_SECONDS = 30 * 24 * 3600.0
"""How long a record whose jobs are gone but whose trials are not all done keeps its logs."""


@dataclass(eq=False)
class Submission:
    """One array: `tasks[i]` are the trials that its task i runs in parallel."""

    folder: Path
    name: str
    study: str
    tasks: list[list[str]]
    array: str = ""
    """The scheduler's id; empty where the submission was interrupted."""
    submitted: float = field(default_factory=time.time)

    def job(self, task: int) -> str:
        """Return the scheduler's id of one task."""
        return self.array if len(self.tasks) == 1 else f"{self.array}_{task}"

    @property
    def ids(self) -> list[str]:
        return [self.job(task) for task in range(len(self.tasks))] if self.array else []

    def write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        body = {"schema": 1, "name": self.name, "study": self.study, "array": self.array}
        write_atomic(self.folder / "jobs.json", json.dumps({**body, "time": self.submitted, "tasks": self.tasks}))

    def log(self, task: int) -> Path:
        """Return the file with the job's output outside of its trials."""
        return self.folder / f"{self.job(task)}_0_log.out"

    def note(self, trial: str) -> str:
        """Return how the trial's worker ended, if something else ended it."""
        try:
            return (self.folder / f"{trial}.note").read_text()
        except OSError:
            return ""

    def set_note(self, trial: str, text: str) -> None:
        write_atomic(self.folder / f"{trial}.note", text, durable=False)

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def create_submission(results: Path, study: str, tasks: Sequence[Sequence[str]]) -> Submission:
    """Create and write a record with a unique name."""
    token = uuid.uuid4().hex[:8]
    record = Submission(results / FOLDER / token, job_name(study, token), study, [list(task) for task in tasks])
    record.write()
    return record


def job_name(study: str, token: str) -> str:
    """Return the name by which squeue is asked for a study's jobs: it takes a comma for the end of a name."""
    return f"{re.sub(r'[^A-Za-z0-9_.@=+-]', '_', study)}-{token}"


def read_submissions(results: Path) -> Iterator[Submission]:
    """Yield every record of the results folder; damaged ones are skipped."""
    for file in sorted((results / FOLDER).glob("*/jobs.json")):
        raw = read_json(file) or {}
        try:
            tasks = [[str(name) for name in task] for task in raw["tasks"]]
            yield Submission(file.parent, raw["name"], raw["study"], tasks, raw["array"], float(raw["time"]))
        except (KeyError, TypeError, ValueError):
            continue


def is_finished(record: Submission, results: Path) -> bool:
    """Return whether a record of jobs that are gone is unneeded: all trials are done, or it is old."""
    trials = [results / "trials" / name for task in record.tasks for name in task]
    return time.time() - record.submitted > MAX_AGE_SECONDS or all(
        TrialFolder(t).state().status == "done" for t in trials
    )


def remove_finished(results: Path) -> None:
    """Remove records whose trials are all done, without querying the scheduler."""
    for record in read_submissions(results):
        states = [TrialFolder(results / "trials" / name).state() for task in record.tasks for name in task]
        if all(state.status == "done" and time.time() - state.ended > QUEUE_EXIT_SECONDS for state in states):
            record.remove()
