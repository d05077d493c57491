"""SLURM's commands and what they would take from a user's shell, and names that they would misread."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import simulated_slurm
import toy

from studies.engine.core.stop import StopRequest
from studies.engine.core.trial import Resources
from studies.engine.execution.driver import Driver, DriverResult
from studies.engine.jobs.launcher import LaunchContext, LaunchError, create_launcher
from studies.engine.launchers.slurm import sbatch, submissions
from studies.engine.launchers.slurm.environment import query_environment, submission_environment
from studies.engine.launchers.slurm.launcher import read_options
from studies.engine.storage.results_dir import Store
from studies.engine.storage.state_watcher import StateWatcher


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for key, value in simulated_slurm.install(tmp_path / "simulated").items():
        monkeypatch.setenv(key, value)
    return tmp_path / "simulated"


def submit(store: Store, study: str, **options: object) -> DriverResult:
    watch = StateWatcher(toy.place(store, toy.trial("a")))
    site = LaunchContext(store.root, store.study(study), {"poll_seconds": 0.1, **options}, StopRequest())
    made = create_launcher("slurm", site)
    return Driver([toy.trial("a")], watch, made, StopRequest(), lambda line: None).run(detach=True)


@pytest.mark.parametrize("label", ["train.lr=0.1,train.steps=5", "data.name=größe", "a|b c'd"])
def test_a_job_s_name_is_one_that_squeue_can_be_asked_for(tmp_path: Path, queue: Path, label: str) -> None:
    """`squeue -n a,b` asks for two names: the jobs of two --set were taken for lost, and submitted again."""
    store = Store(tmp_path / "results")
    submit(store, f"toy@{label}")
    (record,) = submissions.read_submissions(store.root)
    assert set(record.name).isdisjoint(",|' ") and record.name.isascii()
    assert record.study == f"toy@{label}"
    assert submit(store, f"toy@{label}").detached == 1
    assert len((queue / "submitted").read_text().splitlines()) == 1


def names(**options: object) -> set[str]:
    return sbatch.names(sbatch.array_request(Resources(), read_options(options), "name", Path("/code")))


def test_a_variable_of_the_shell_changes_no_option_of_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """SBATCH_PARTITION counts for more than a line of the sbatch file, and so for more than `partition:` of a study."""
    mine = ("ACCOUNT", "QOS", "EXPORT")
    for name in ("PARTITION", "TIMELIMIT", "JOB_NAME", "OUTPUT", "SIGNAL", "NO_REQUEUE", "WAIT", *mine):
        monkeypatch.setenv(f"SBATCH_{name}", "x")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    with submission_environment(names(partition="gpu")):
        left = {key for key in os.environ if key.startswith(("SBATCH_", "SLURM_"))}
    assert left == {"SLURM_CONF", *(f"SBATCH_{name}" for name in mine)}
    assert (os.environ["SBATCH_PARTITION"], os.environ["SLURM_JOB_ID"]) == ("x", "7")
    with submission_environment(names()):
        assert os.environ["SBATCH_PARTITION"] == "x"  # nothing else says where
        assert "SBATCH_TIMELIMIT" not in os.environ  # resources.minutes or an hour does


def test_a_filter_of_the_shell_hides_no_job() -> None:
    shell = {"SQUEUE_PARTITION": "cpu", "SCANCEL_INTERACTIVE": "1", "SACCT_FORMAT": "x", "SLURM_CLUSTERS": "b"}
    assert query_environment({**shell, "SLURM_CONF": "c", "PATH": "p"}) == {"SLURM_CONF": "c", "PATH": "p"}


def test_the_scheduler_is_asked_without_filters(tmp_path: Path, queue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = queue / "squeue"
    file.write_text(file.read_text().replace("#!/bin/sh\n", '#!/bin/sh\n[ -z "$SQUEUE_PARTITION" ] || exit 0\n'))
    monkeypatch.setenv("SQUEUE_PARTITION", "cpu")
    store = Store(tmp_path / "results")
    submit(store, "toy")
    assert submit(store, "toy").detached == 1
    assert len((queue / "submitted").read_text().splitlines()) == 1


def test_a_time_limit_that_leaves_no_time_to_save_is_refused_before_anything_is_written(
    tmp_path: Path, queue: Path
) -> None:
    made = create_launcher("slurm", LaunchContext(tmp_path, tmp_path / "toy", {}, StopRequest()))
    with pytest.raises(LaunchError, match="time limit: 60 s are not above signal_seconds 90"):
        made.capacity(Resources(minutes=1))
    assert made.capacity(Resources(minutes=2)) > 0
