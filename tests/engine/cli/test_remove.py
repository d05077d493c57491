"""`remove`: trials of no study, a study's results; never a running trial, nothing outside the results folder."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import made_study as made
import pytest
import simulated_slurm
from click.testing import CliRunner, Result

from studies.engine.cli.main import cli
from studies.engine.core.trial import State
from studies.engine.launchers.slurm import submissions
from studies.engine.storage.lease import Lease
from studies.engine.storage.results_dir import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """The study toy with 18 trials, another that has 6 of them, two trials of none."""
    store = Store(tmp_path / "results")
    plan = made.make_plan()
    made.run_all(store, plan)
    made.write_plan(store, {**plan, "study": "other", "trials": plan["trials"][:6]})
    for i in range(2):
        made.run_trial(store, {**plan["trials"][0], "folder": f"feed{i:08x}"})
    return store


def run(store: Store, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["remove", *arguments, "--results", str(store.root)], standalone_mode=False)


def there(store: Store) -> set[str]:
    return {path.name for path in store.trials.iterdir()}


def test_trials_of_no_study_are_shown_first_and_then_removed(store: Store) -> None:
    before = there(store)
    shown = run(store)
    assert shown.return_value == 0, shown.output
    assert "feed00000000" in shown.output
    assert "total     2 folders" in shown.output
    assert "nothing is removed without --yes" in shown.output
    assert there(store) == before
    assert run(store, "--yes").return_value == 0
    assert there(store) == {name for name in before if not name.startswith("feed")}
    assert "nothing to remove" in run(store).output


def test_a_study_goes_with_the_trials_that_only_it_has(store: Store) -> None:
    found = json.loads(run(store, "toy", "--yes", "--json").stdout)
    assert found["removed"]
    assert found["bytes"] > 1000
    assert not store.study("toy").exists()
    assert len([name for name in there(store) if not name.startswith("feed")]) == 6
    assert store.study("other").exists()


def test_a_folder_that_cannot_be_written_is_left_with_the_reason(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Lease) -> str:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Lease, "acquire", refuse)
    before, done = there(store), run(store, "--yes")
    assert "Read-only file system" in done.output and done.exception is None
    assert there(store) == before


def test_a_running_trial_and_a_link_stay(store: Store, tmp_path: Path) -> None:
    assert Lease(store.trial("feed00000000").lease_file).acquire()  # by this process, which is alive
    outside = tmp_path / "outside"
    shutil.copytree(store.trials / "feed00000001", outside)
    shutil.rmtree(store.trials / "feed00000001")
    (store.trials / "feed00000001").symlink_to(outside)
    done = run(store, "--yes")
    assert (outside / "spec.json").exists()
    assert "kept      feed00000000  running" in done.output
    assert "kept      feed00000001  a link" in done.output
    assert done.return_value == 1
    assert {"feed00000000", "feed00000001"} <= there(store)


def test_a_study_that_is_being_run_stays(store: Store) -> None:
    assert Lease(store.study("toy") / "driver").acquire()
    done = run(store, "toy", "--yes")
    assert "kept      toy  run by process" in done.output
    assert done.return_value == 1
    assert (store.study("toy") / "plan.json").exists()
    assert len(there(store)) == 20


def test_nothing_is_removed_while_a_plan_cannot_be_read(store: Store) -> None:
    (store.study("other") / "plan.json").write_text("{")
    before = there(store)
    done = run(store, "--yes")
    assert "it is not known which trials are its" in str(done.exception)
    assert there(store) == before


def test_an_unknown_study_gets_the_nearest(store: Store) -> None:
    assert 'did you mean "other"?' in run(store, "othr").exception.message  # type: ignore[union-attr]


def test_a_trial_that_was_queued_when_its_driver_was_killed_goes_unless_another_driver_runs(store: Store) -> None:
    """It would wait for ever, and stay for ever."""
    folder = store.trial("feed00000000")
    folder.result_file.unlink()
    folder.set_state(replace(folder.state(), status="queued"))
    driver = Lease(store.study("other") / "driver")
    token = driver.acquire()
    assert token
    found = json.loads(run(store, "--yes", "--json").stdout)
    assert list(found["kept"].values()) == ["queued"]
    driver.release(token)
    assert run(store, "--yes").return_value == 0
    assert "feed00000000" not in there(store)


def test_a_trial_that_slurm_may_have_stays_while_slurm_does_not_answer(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = store.trial("feed00000000")
    folder.result_file.unlink()
    folder.set_state(State("queued", 1))
    record = submissions.create_submission(store.root, "toy", [["feed00000000", "feed00000001"]])
    record.array = "101"
    record.write()
    for key, value in simulated_slurm.install(tmp_path / "simulated").items():
        monkeypatch.setenv(key, value)
    (tmp_path / "simulated/silent").touch()
    found = json.loads(run(store, "--json").stdout)
    assert found["kept"] == {str(folder.path): "submitted to SLURM, which does not answer here"}
    (tmp_path / "simulated/silent").unlink()
    assert json.loads(run(store, "--json").stdout)["kept"] == {}
