"""The driver with a scheduler that is full, unavailable or refuses jobs. Real schedulers: tests/cluster."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
import simulated_slurm
import toy

from studies.engine.core.stop import StopRequest
from studies.engine.core.trial import Trial
from studies.engine.execution.driver import Driver, DriverResult
from studies.engine.jobs.launcher import LaunchContext, LaunchError, create_launcher
from studies.engine.launchers.slurm import submissions
from studies.engine.runtime.worker import run_attempt
from studies.engine.storage.results_dir import Store
from studies.engine.storage.state_watcher import StateWatcher

ROOT = Path(__file__).parents[3]


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The simulation's folder."""
    for key, value in simulated_slurm.install(tmp_path / "simulated").items():
        monkeypatch.setenv(key, value)
    return tmp_path / "simulated"


def submit(store: Store, names: str, said: list[str], **options: object) -> DriverResult:
    return submit_all(store, [toy.trial(name) for name in names], said, **options)


def submit_all(store: Store, trials: list[Trial], said: list[str], **options: object) -> DriverResult:
    watch = StateWatcher(toy.place(store, *trials))
    made = create_launcher(
        "slurm", LaunchContext(store.root, store.study("toy"), {"poll_seconds": 0.1, **options}, StopRequest())
    )
    return Driver(trials, watch, made, StopRequest(), said.append).run(detach=True)


def test_nothing_is_submitted_while_the_scheduler_does_not_report_earlier_jobs(tmp_path: Path, queue: Path) -> None:
    store, said = Store(tmp_path / "results"), list[str]()
    assert submit(store, "ab", said).detached == 2
    (queue / "silent").touch()
    with pytest.raises(LaunchError, match="Unable to contact slurm controller: jobs of an earlier run may be"):
        submit(store, "abc", said)
    (queue / "silent").unlink()
    assert submit(store, "abc", said).detached == 3
    assert [line.split()[0] for line in (queue / "submitted").read_text().splitlines()] == ["101", "102"]
    assert said == ["reattached 2 trials whose jobs are in the queue"]


def test_an_interrupted_submission_is_found_by_its_name(tmp_path: Path, queue: Path) -> None:
    """The driver died between sbatch and writing down the job's id."""
    store, said = Store(tmp_path / "results"), list[str]()
    submit(store, "ab", said)
    (record,) = submissions.read_submissions(store.root)
    record.array = ""
    record.write()
    assert submit(store, "ab", said).detached == 2
    assert len((queue / "submitted").read_text().splitlines()) == 1


def test_a_refusal_by_sbatch_is_reported_and_retried(tmp_path: Path, queue: Path) -> None:
    store, said = Store(tmp_path / "results"), list[str]()
    submit(store, "ab", said)
    (queue / "refuse").write_text(
        "sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: no\n"
    )
    outcome = submit(store, "abcd", said)
    assert outcome.detached == 2 and outcome.problem == ""
    assert said[-1].startswith(
        "queue     sbatch accepts no more jobs now: AssocMaxSubmitJobLimit; Batch job submission failed"
    )
    assert len(list(submissions.read_submissions(store.root))) == 1
    shutil.rmtree(store.root)
    with pytest.raises(LaunchError, match="sbatch: AssocMaxSubmitJobLimit"):
        submit(store, "ab", said)


def test_no_more_jobs_at_once_than_wanted(tmp_path: Path, queue: Path) -> None:
    assert submit(Store(tmp_path / "results"), "abcde", [], max_jobs=2).detached == 2


def test_a_stage_is_submitted_when_the_one_before_is_done(tmp_path: Path, queue: Path) -> None:
    store, trials = Store(tmp_path / "results"), [toy.trial("b", starts="a"), toy.trial("a")]

    def submitted() -> list[str]:
        records = submissions.read_submissions(store.root)
        return sorted(name for record in records for task in record.tasks for name in task)

    for _ in range(2):
        assert submit_all(store, trials, []).detached == 1
        assert submitted() == ["a"]
    assert run_attempt(store.trial("a"), StopRequest()) == "done"
    submit_all(store, trials, [])
    assert submitted() == ["a", "b"]


MANY = """
study: many
title: Five thousand
task: toy_task.py
seeds: [{seeds}]
axes:
  lr: {{key: train.lr, values: [0.05, 0.1, 0.15, 0.2, 0.25], baseline: 0.1}}
metrics: {{score: {{from: best}}}}
"""
POLL = 2.0


@pytest.mark.slow
def test_five_thousand_waiting_trials_need_little_memory_and_few_queries(tmp_path: Path, queue: Path) -> None:
    """The driver's memory, and one question per interval whatever the number of jobs."""
    shutil.copy(ROOT / "tests" / "toy_task.py", tmp_path)
    (tmp_path / "many.yaml").write_text(MANY.format(seeds=", ".join(map(str, range(1000)))))
    command = [sys.executable, "-m", "studies", "run", "many.yaml", "--on", "slurm", "--launch", f"poll_seconds={POLL}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with open(tmp_path / "said", "w") as said:
        driver = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=said, stderr=subprocess.STDOUT)
    asked = queue / "asked"
    until = time.monotonic() + 200
    while not (asked.exists() and len(asked.read_text().split()) > 5):
        assert driver.poll() is None and time.monotonic() < until, (tmp_path / "said").read_text()
        time.sleep(0.2)
    status = Path(f"/proc/{driver.pid}/status").read_text()
    memory = next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    times = [float(text) for text in asked.read_text().split()]
    driver.send_signal(signal.SIGINT)
    assert driver.wait(240) == 130
    assert "detached  5000 trials continue in the queue" in (tmp_path / "said").read_text()
    print(f"{memory:.0f} MB, a question every {(times[-1] - times[0]) / (len(times) - 1):.2f} s")
    assert memory < 300
    assert min(b - a for a, b in pairwise(times)) > 0.9 * POLL
    assert len((queue / "submitted").read_text().splitlines()) == 5
