"""doctor: finds what a real accident leaves behind, says what to do, and what it says works."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import made_study as made
import pytest
from click.testing import CliRunner, Result

from studies.engine import doctor, examine, workers
from studies.engine.claim import Claim
from studies.engine.collect import collect
from studies.engine.doctor import Finding, diagnose
from studies.engine.store import Store
from studies.engine.track import Mirror
from studies.engine.trial import State
from studies.engine.verbs.doctor import command, line

OLD = examine.OLD_SECONDS + 10


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
    return CliRunner().invoke(command, [*arguments, "--results", str(store.root)], standalone_mode=False)


def wrong(store: Store) -> dict[str, Finding]:
    return {f.what: f for f in diagnose(store) if f.level == "attention"}


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def claim_of_the_dead(folder: Any) -> None:
    """As a killed worker leaves it."""
    code = "import sys; from pathlib import Path; from studies.engine.store import TrialFolder; import os, signal\n"
    code += "assert TrialFolder(Path(sys.argv[1])).claim(); os.kill(os.getpid(), signal.SIGKILL)"
    done = subprocess.run([sys.executable, "-c", code, str(folder.path)], cwd=Path(__file__).parents[2])
    assert done.returncode == -signal.SIGKILL
    assert folder.claim_file.exists()


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
    assert "is not there yet" in result.output
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
    token = trial.claim()
    assert token
    assert wrong(store) == {}
    assert any(f.text == "1 trials, each with a live worker" for f in diagnose(store))
    assert run(store, "--clean").return_value == 0
    assert trial.beat(token), "a live claim is left alone"


def test_a_stale_claim_is_found_and_cleaned(store: Store, plan: dict[str, Any]) -> None:
    trial = store.trial(plan["trials"][0]["folder"])
    claim_of_the_dead(trial)
    assert set(wrong(store)) == {"claims"}
    result = run(store, "--clean")
    assert result.return_value == 0, result.output
    assert "removed 1 " in result.output
    assert not trial.claim_file.exists()


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
    assert young.exists(), "somebody may be writing it"


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


@pytest.mark.usefixtures("plan")
def test_a_folder_that_cannot_be_written(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    found = wrong(store)
    assert found["results"].text == f"{store.root} cannot be written: No space left on device"
    assert "--results DIR" in found["results"].remedy


def test_the_disk_is_measured_against_what_is_missing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = made.make_plan(seeds=2)
    made.write_plan(store, plan)
    for index, planned in enumerate(plan["trials"][:6]):
        folder = made.run_trial(store, planned, index)
        (folder.path / "predictions.npz").write_bytes(b"x" * 1_000_000)
    assert "disk" not in wrong(store)
    need = 6 * 1_000_000
    usage = doctor.shutil.disk_usage(store.root)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage._replace(free=doctor.TIGHT + need - 1))
    found = wrong(store)
    assert set(found) == {"disk"}
    assert "about 6 MB needed for 6 more" in found["disk"].text
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage._replace(free=doctor.TIGHT + 2 * need))
    assert "disk" not in wrong(store)


@pytest.fixture
def lonely(store: Store, plan: dict[str, Any]) -> Iterator[tuple[int, str]]:
    """A process with a worker's command line whose starter is not its parent."""
    trial = store.trial(plan["trials"][0]["folder"])
    code = "import time; time.sleep(60)"
    command = [sys.executable, "-c", code, "-m", "studies.engine.worker", "--device", "cpu", str(trial.path)]
    environment = {**os.environ, "DYNVIT_PARENT": str(dead_process())}
    with subprocess.Popen(command, env=environment) as process:
        yield process.pid, trial.id
        process.kill()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found through /proc")
def test_an_orphan_worker_is_found(store: Store, lonely: tuple[int, str]) -> None:
    pid, trial = lonely
    until = time.monotonic() + 10
    while not list(workers.orphans(store)) and time.monotonic() < until:
        time.sleep(0.05)
    found = wrong(store)
    assert found["orphan"].text == f"worker {pid} (trial {trial}) has lost the process that started it"
    assert f"kill {pid}" in found["orphan"].remedy
    assert list(workers.orphans(Store(store.root / "other"))) == [], (
        "another results folder's workers are its own matter"
    )


def test_a_server_that_is_not_there(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.root.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as held:
        uri = f"http://user:secret@127.0.0.1:{held.getsockname()[1]}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    text = wrong(store)["tracking"].text
    assert text.startswith("no server answers at http://")
    assert "secret" not in text


@pytest.mark.usefixtures("plan")
def test_a_database_that_lacks_something_is_a_note(store: Store) -> None:
    (note,) = [f for f in diagnose(store) if f.what == "tracking"]
    assert (note.level, note.remedy) == ("note", "studies sync --all")
    assert "toy" in note.text


def test_a_package_that_is_not_needed_is_a_note(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor.version
    absent = {"ray", "submitit"}
    monkeypatch.setattr(doctor, "version", lambda name: None if name in absent else real(name))
    monkeypatch.setattr(doctor.shutil, "which", lambda _: None)
    found = {f.what: f for f in diagnose(store)}
    assert found["ray"].level == found["submitit"].level == found["latex"].level == "note"
    assert found["ray"].remedy == "pip install 'ray[default]'"
    absent.add("torch")
    (packages,) = [f for f in diagnose(store) if f.what == "packages"]
    assert (packages.level, packages.remedy) == ("attention", "pip install torch")


def test_nothing_heavy_is_imported(store: Store, plan: dict[str, Any]) -> None:
    code = "import sys; from studies.engine.cli import cli; cli.main(sys.argv[1:], standalone_mode=False)\n"
    code += "heavy = {'torch', 'ray', 'mlflow', 'submitit', 'pandas', 'pyarrow', 'seaborn', 'scipy', 'timm'}\n"
    code += "print(sorted(heavy & set(sys.modules)))"
    command = [sys.executable, "-c", code, "doctor", "--json", "--results", str(store.root)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=True)
    assert done.stdout.rstrip().endswith("[]")


def test_lines_fold_at_80_columns_and_not_in_a_file() -> None:
    finding = Finding("running", "attention", "12 trials " + "x" * 60, "type the same `studies run` again " * 2)
    folded = line(finding, 80).splitlines()
    assert all(len(text) <= 80 for text in folded)
    assert folded[0].startswith("! running    12 trials")
    assert folded[1].startswith(" " * 13)
    assert "\n" not in line(finding, None)
    assert "\n" not in line(finding, 200)


def test_a_folder_of_another_kind_is_looked_at_without_harm(store: Store) -> None:
    (store.trials / "x").mkdir(parents=True)
    (store.trials / "file").write_text("")
    (store.trials / "x" / "state.json").write_text(json.dumps(asdict(State("done", 1))))
    assert wrong(store)["file"].text.endswith("spec.json is missing")
    assert Claim(store.trials / "x" / "claim").holder() is None
