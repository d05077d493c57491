"""doctor on the machine: disk, orphan processes, the MLflow server, packages; and how its lines look."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import made_study as made
import pytest

from studies.engine.cli.commands.doctor import line
from studies.engine.core.files import zip_bytes
from studies.engine.core.trial import State
from studies.engine.diagnostics import doctor, orphans
from studies.engine.diagnostics.doctor import Finding, diagnose
from studies.engine.results.collect import collect
from studies.engine.storage.lease import Lease
from studies.engine.storage.results_dir import Store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Store(tmp_path / "results")


@pytest.fixture
def plan(store: Store) -> dict[str, Any]:
    plan = made.make_plan(seeds=1)
    collect(store, made.run_all(store, plan))
    return plan


def wrong(store: Store) -> dict[str, Finding]:
    return {f.what: f for f in diagnose(store) if f.level == "attention"}


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.usefixtures("plan")
def test_a_folder_that_cannot_be_written(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    found = wrong(store)
    assert found["results"].text == f"{store.root} cannot be written: No space left on device"
    assert "--results DIR" in found["results"].remedy


@pytest.mark.usefixtures("plan")
def test_a_file_system_without_hard_links(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """As exFAT: the run says the same as doctor."""

    def refuse(*files: Path) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    why = "its file system has no hard links, which keep two workers apart"
    assert wrong(store)["results"].text == f"{store.root} cannot be written: {why}"
    with pytest.raises(OSError, match=why):
        Lease(store.root / "claim").acquire()


def test_the_disk_is_measured_against_what_is_missing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = made.make_plan(seeds=2)
    made.write_plan(store, plan)
    for index, planned in enumerate(plan["trials"][:6]):
        folder = made.run_trial(store, planned, index)
        (folder.path / "predictions.npz").write_bytes(zip_bytes({"prediction.npy": os.urandom(1_000_000)}))
    assert "disk" not in wrong(store)
    need = 6 * 1_000_000
    usage = doctor.shutil.disk_usage(store.root)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage._replace(free=doctor.MIN_FREE_BYTES + need - 1))
    found = wrong(store)
    assert set(found) == {"disk"}
    assert "about 6 MB needed for 6 more" in found["disk"].text
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage._replace(free=doctor.MIN_FREE_BYTES + 2 * need))
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
    while not list(orphans.orphans(store)) and time.monotonic() < until:
        time.sleep(0.05)
    found = wrong(store)
    assert found["orphan"].text == f"worker {pid} (trial {trial}) has lost the process that started it"
    assert f"kill {pid}" in found["orphan"].remedy
    assert list(orphans.orphans(Store(store.root / "other"))) == [], (
        "another results folder's workers are its own matter"
    )


def test_a_server_that_is_not_there(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.root.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as held:
        uri = f"http://user:secret@127.0.0.1:{held.getsockname()[1]}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    text = wrong(store)["tracking"].text
    assert text.startswith("no MLflow server answers at http://")
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
    code = "import sys; from studies.engine.cli.main import cli; cli.main(sys.argv[1:], standalone_mode=False)\n"
    code += "heavy = {'torch', 'ray', 'mlflow', 'submitit', 'pandas', 'pyarrow', 'seaborn', 'scipy', 'timm'}\n"
    code += "print(sorted(heavy & set(sys.modules)))"
    command = [sys.executable, "-c", code, "doctor", "--json", "--results", str(store.root)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3], check=True)
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
    assert Lease(store.trials / "x" / "claim").owner() is None


def test_read_only_results_are_one_line(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = made.make_plan(seeds=1)
    made.run_all(store, plan)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    for name in ("write_bytes", "unlink", "mkdir"):
        monkeypatch.setattr(Path, name, refuse)
    found = wrong(store)
    assert found["results"].text == f"{store.root} cannot be written: Read-only file system"
    assert found.keys() == {"results"}
