"""Addresses of MLflow: what is not served or cannot be used is said at once, and nobody's password is shown."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import made_study as made
import pytest

from studies.engine.core.secrets import hide_secrets
from studies.engine.diagnostics.doctor import Finding, tracking
from studies.engine.storage.plan_file import read_plan
from studies.engine.storage.results_dir import Store
from studies.engine.tracking import mlflow_uri
from studies.engine.tracking.mirror import Mirror


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    made.run_all(Store(tmp_path / "results"), made.make_plan(seeds=1))
    return Store(tmp_path / "results")


def findings(store: Store) -> list[Finding]:
    return list(tracking(store, [read_plan(store.study("toy"))]))


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("http://host:5000/mlflow", "http://host:5000/mlflow"),
        ("http://me:secret@host:5000", "http://host:5000"),
        ("https://token@host/mlflow/", "https://host/mlflow/"),
        ("https://me:s@cr:et@[::1]:5000/a@b", "https://[::1]:5000/a@b"),
        ("postgresql://me:secret@host/mlflow", "postgresql://host/mlflow"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
        ("http://u:p/w@h:5000/x", "http://h:5000/x"),
        ("http://u:12/34@h", "http://h"),
        ("http://first.last:p/w@h", "http://h"),
        ("http://u:p?w#x@h", "http://h"),
        ("u:p/w@h:5000", "h:5000"),
        ("ray://u:p@h:10001", "ray://h:10001"),
        ("https://h/x?token=s&a=1", "https://h/x?token=...&a=1"),
        ("failed with url: /?api_key=s", "failed with url: /?api_key=..."),
        ("http://127.0.0.1:5000/cifar10@smoke", "http://127.0.0.1:5000/cifar10@smoke"),
        ("http://localhost:5000/cifar10@smoke", "http://localhost:5000/cifar10@smoke"),
        ("request to https://token@host/a failed, me@host", "request to https://host/a failed, me@host"),
    ],
)
def test_users_passwords_and_tokens_are_not_shown(given: str, shown: str) -> None:
    assert hide_secrets(given) == shown


@pytest.mark.parametrize("asked", ["http://me:sesame/s@127.0.0.1:9", "http://127.0.0.1:9?token=sesame"])
def test_a_password_with_a_slash_and_a_token_of_a_query_are_shown_and_stored_nowhere(
    asked: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", asked)
    said: list[str] = []
    mirror = Mirror(store, store.study("toy"), say=said.append)
    assert not mirror.close()
    assert mirror.problem.startswith(("MLFLOW_TRACKING_URI is no address", "no MLflow server answers at http://127"))
    assert not [text for text in (*said, mirror.where, *map(str, findings(store))) if "sesame" in text]
    assert not [file for file in store.root.rglob("*") if file.is_file() and b"sesame" in file.read_bytes()]


def test_a_token_given_as_user_is_shown_nowhere(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://sesame@127.0.0.1:9")
    said: list[str] = []
    mirror = Mirror(store, store.study("toy"), say=said.append)
    assert not mirror.close()
    (finding,) = findings(store)
    assert finding.text == mirror.problem == "no MLflow server answers at http://127.0.0.1:9"
    assert finding.level == "attention"
    assert not [text for text in (*said, mirror.where, str(finding)) if "sesame" in text]


def test_an_address_in_an_error_of_mlflow_is_not_shown_in_full(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Mirror, final: bool) -> bool:
        raise OSError("API request to http://me:sesame@host/api failed")

    monkeypatch.setattr(Mirror, "_write_alone", fail)
    mirror = Mirror(store, store.study("toy"))
    assert not mirror.update()
    assert mirror.problem == "API request to http://host/api failed"


@pytest.mark.parametrize(
    "asked", ["file:///somewhere/mlruns", "postgresql://me:secret@host/db", "databricks", "mlruns"]
)
def test_a_kind_of_address_that_is_not_served_is_said(
    store: Store, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", asked)
    note = f"MLFLOW_TRACKING_URI={hide_secrets(asked)} is not used: only http:// and https:// are"
    mirror = Mirror(store, store.study("toy"))
    assert mirror.uri == f"sqlite:///{store.root / 'mlflow.db'}"
    assert mirror.where == f"{mirror.uri}  experiment toy  ({note})"
    assert next((f.level, f.text) for f in findings(store)) == ("note", note)


@pytest.mark.parametrize("asked", ["", " ", "http://host", "default"])
def test_an_address_that_is_served_needs_no_word(store: Store, monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", asked.replace("default", mlflow_uri.default(store.root)))
    assert mlflow_uri.unserved(store.root) == ""


@pytest.mark.parametrize("kind", ["folder", "text"])
def test_a_database_that_cannot_be_opened_is_found_without_mlflow(store: Store, kind: str) -> None:
    """MLflow would try for two minutes."""
    file = store.root / "mlflow.db"
    if kind == "folder":
        file.mkdir()
    else:
        file.write_text("not a database" * 100)
    typed = [sys.executable, "-X", "importtime", "-m", "studies", "sync", "toy", "--results", str(store.root)]
    done = subprocess.run(typed, capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if line.startswith("mlflow ")]
    assert [line.partition(" cannot be opened: ")[0] for line in said] == [f"mlflow    toy: {file}"]
    assert "sqlalchemy" not in done.stderr, "MLflow was asked first"
    (finding,) = findings(store)
    assert (finding.level, finding.remedy) == ("attention", "move it away; then studies sync --all")
    assert finding.text.startswith(f"{file} cannot be opened: ")


def test_a_database_that_is_being_written_is_not_damaged(tmp_path: Path) -> None:
    import sqlite3

    with sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None) as writer:
        writer.execute("CREATE TABLE runs (id)")
        writer.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        assert mlflow_uri.problem(f"sqlite:///{tmp_path / 'mlflow.db'}") == ""
        assert time.monotonic() - began < 10
    writer.close()


@pytest.mark.parametrize("address", ["http://[::1", "http://", "http://127.0.0.1:port", "http://a b"])
def test_what_is_no_address_is_said(address: str) -> None:
    assert mlflow_uri.problem(address) == f"no MLflow server answers at {address}"


@pytest.mark.parametrize("name", ["what?", "a%20b", "100%25", "100%", "a b#c", "50%?x=1"])
def test_the_database_is_in_the_results_folder_whatever_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    store = Store(tmp_path / "in" / name / "results")
    folder = made.run_all(store, made.make_plan(seeds=1))
    assert mlflow_uri.database(mlflow_uri.default(store.root)) == store.root / "mlflow.db"
    assert mlflow_uri.unserved(store.root) == ""
    mirror = Mirror(store, folder)
    assert mirror.sync(), mirror.problem
    assert (store.root / "mlflow.db").is_file() and (store.root / "mlartifacts").is_dir()
    assert [path.name for path in (tmp_path / "in").iterdir()] == [name]
    assert [finding.level for finding in findings(store)] == ["fine"]


def test_an_older_library_is_not_asked_for_what_it_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow_uri.metadata, "version", lambda name: "2.0.58")
    assert "needs SQLAlchemy 2.1" in mlflow_uri.problem(mlflow_uri.default(tmp_path / "a%20b"))
    assert mlflow_uri.problem(mlflow_uri.default(tmp_path / "a b")) == ""
