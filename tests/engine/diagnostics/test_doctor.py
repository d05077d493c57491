"""doctor: finds what a real accident leaves behind, says what to do, and what it says works."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import made_study as made
import pytest
from click.testing import CliRunner, Result

from studies.engine.cli.main import cli
from studies.engine.diagnostics import trial_check
from studies.engine.diagnostics.doctor import Finding, diagnose
from studies.engine.results.collect import collect
from studies.engine.storage import kept_weights
from studies.engine.storage.results_dir import Store
from studies.engine.tracking.mirror import Mirror

OLD = trial_check.OLD_SECONDS + 10


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Store(tmp_path / "results")


@pytest.fixture
def plan(store: Store) -> dict[str, Any]:
    plan = made.make_plan(seeds=1)
    collect(store, made.run_all(store, plan))
    return plan


def run(store: Store, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["doctor", *arguments, "--results", str(store.root)], standalone_mode=False)


def wrong(store: Store) -> dict[str, Finding]:
    return {f.what: f for f in diagnose(store) if f.level == "attention"}


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def claim_of_the_dead(folder: Any) -> None:
    """As a killed worker leaves it."""
    code = "import sys; from pathlib import Path; from studies.engine.storage.trial_folder import TrialFolder\n"
    code += "import os, signal\n"
    code += "assert TrialFolder(Path(sys.argv[1])).acquire_lease(); os.kill(os.getpid(), signal.SIGKILL)"
    done = subprocess.run([sys.executable, "-c", code, str(folder.path)], cwd=Path(__file__).parents[3])
    assert done.returncode == -signal.SIGKILL
    assert folder.lease_file.exists()


def aged(path: Path) -> Path:
    os.utime(path, (time.time() - OLD,) * 2)
    return path


@pytest.mark.usefixtures("plan")
def test_a_finished_study_is_fine(store: Store, mlflow_database: Callable[[Path], Path]) -> None:
    mlflow_database(store.root)
    assert Mirror(store, store.study("toy")).close()
    result = run(store)
    assert result.return_value == 0, result.output
    assert result.output.endswith("everything is fine\n")
    assert "is up to date" in result.output
    levels = {f["level"] for f in json.loads(run(store, "--json").output)}
    assert "attention" not in levels


def test_no_results_folder_is_no_fault(store: Store) -> None:
    result = run(store)
    assert result.return_value == 0
    assert "does not exist yet" in result.output
    assert not store.root.exists()


def test_a_trial_whose_worker_was_killed(store: Store, plan: dict[str, Any]) -> None:
    trial = store.trial(plan["trials"][2]["folder"])
    trial.result_file.unlink()
    made.start(trial, attempt=2)
    claim_of_the_dead(trial)
    found = wrong(store)
    assert set(found) == {"running"}
    assert trial.id in found["running"].text
    assert "studies run" in found["running"].remedy
    assert run(store).return_value == 1


def test_a_running_trial_is_not_a_fault(store: Store, plan: dict[str, Any]) -> None:
    trial = store.trial(plan["trials"][2]["folder"])
    trial.result_file.unlink()
    made.start(trial, attempt=2)
    token = trial.acquire_lease()
    assert token
    assert wrong(store) == {}
    assert any(f.text == "1 trials, each with a live worker" for f in diagnose(store))
    assert run(store, "--clean").return_value == 0
    assert trial.renew_lease(token), "a live claim is left alone"


def test_a_stale_claim_is_found_and_cleaned(store: Store, plan: dict[str, Any]) -> None:
    trial = store.trial(plan["trials"][0]["folder"])
    claim_of_the_dead(trial)
    assert set(wrong(store)) == {"claims"}
    result = run(store, "--clean")
    assert result.return_value == 0, result.output
    assert f"removed trials/{trial.id}/claim, the claim of process " in result.output
    assert "fixed 1\n" in result.output
    assert not trial.lease_file.exists()


@pytest.mark.usefixtures("plan")
def test_half_written_files_are_found_and_cleaned(store: Store) -> None:
    trial = next(store.trials.iterdir())
    pid = dead_process()
    left = [
        trial / f".state.json.{pid}.0a1b2c",
        trial / f".claim.{'a' * 32}",
        store.study("toy") / f".trials.csv.{pid}.ffffff",
    ]
    for path in left:
        aged_path = aged(_written(path))
        assert aged_path.exists()
    snapshot = store.root / "code" / f".0123456789ab.{pid}.ffffff"
    _written(snapshot / "studies" / "x.py")
    aged(snapshot)
    young = _written(trial / f".result.json.{pid}.0a1b2c")
    found = wrong(store)
    assert set(found) == {"leftovers"}
    assert found["leftovers"].text.startswith("4 half-written files")
    before = {p for p in store.root.rglob("*") if p.is_file()}
    assert run(store, "--clean").return_value == 0
    gone = before - {p for p in store.root.rglob("*") if p.is_file()}
    assert gone == {*left, snapshot / "studies" / "x.py"}
    assert young.exists(), "a process may be writing it"


def test_a_clock_that_is_ahead_makes_no_file_old(
    store: Store, plan: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    young = _written(store.trial(plan["trials"][0]["folder"]).path / f".result.json.{os.getpid()}.0a1b2c")
    monkeypatch.setattr("time.time", lambda real=time.time: real() + 7200)
    assert set(wrong(store)) == {"clock"}
    run(store, "--clean")
    assert young.exists(), "a process may be writing it"


def _written(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{")
    return path


@pytest.mark.parametrize("name", ["spec.json", "state.json", "result.json"])
def test_a_damaged_file_is_named_with_what_to_do(store: Store, plan: dict[str, Any], name: str) -> None:
    file = store.trial(plan["trials"][0]["folder"]).path / name
    file.write_text(file.read_text()[:20])
    found = wrong(store)
    assert set(found) == {"file"}
    assert found["file"].text == f"{file} is damaged"
    assert found["file"].remedy.startswith("rm ")
    subprocess.run(found["file"].remedy.split(",")[0], shell=True, check=True)
    assert "file" not in wrong(store)


@pytest.mark.parametrize("name", ["trials", "code", "mlartifacts"])
def test_a_file_in_the_place_of_a_folder(store: Store, name: str) -> None:
    store.root.mkdir(parents=True)
    (store.root / name).symlink_to("nowhere")
    found = wrong(store)["results"]
    assert found.text == f"{store.root / name} is not a folder"
    subprocess.run(found.remedy, shell=True, check=True)
    assert "results" not in wrong(store)


def test_a_trial_in_the_folder_of_another(store: Store, plan: dict[str, Any]) -> None:
    first, second = (store.trial(trial["folder"]) for trial in plan["trials"][:2])
    shutil.rmtree(second.path)
    shutil.copytree(first.path, second.path)
    assert wrong(store)["file"].text == (
        f"{second.spec_file} is of the trial {first.id}: the folder was renamed or copied"
    )


def test_kept_weights_that_have_changed(store: Store, plan: dict[str, Any]) -> None:
    folder = store.trial(plan["trials"][0]["folder"])
    weights = folder.path / "last.safetensors"
    weights.write_bytes(b"1.0")
    folder.set_result({**(folder.result() or {}), "kept_weights": kept_weights.describe(weights, folder)})
    assert "file" not in wrong(store)
    weights.write_bytes(b"2.0")
    assert wrong(store)["file"].text == f"{weights} is not what the trial kept: its content has changed"
    weights.unlink()  # to save space: the next run trains it again if need be
    assert "file" not in wrong(store)


def test_damaged_lines_of_a_curve(store: Store, plan: dict[str, Any]) -> None:
    events = store.trial(plan["trials"][0]["folder"]).events_file
    lines = events.read_text().splitlines()
    events.write_text("\n".join([lines[0], '{"t": 1, "st', *lines[2:], ""]))
    assert wrong(store)["file"].text == f"{events} line 2 cannot be read"


def test_a_missing_spec_and_a_damaged_plan(store: Store, plan: dict[str, Any]) -> None:
    spec = store.trial(plan["trials"][0]["folder"]).spec_file
    spec.unlink()
    (store.study("toy") / "plan.json").write_text('{"schema": 1, "trials": []}')
    found = wrong(store)
    assert found["file"].text == f"{spec} is missing"
    assert found["plan"].text.endswith("plan.json is damaged")
    assert "studies run toy" in found["plan"].remedy
