"""The mirror without news, without a server, or with something in the way."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import made_study as made
import pytest
from mirrored_runs import client, close, history, runs
from mlflow import MlflowClient

from studies.engine.results.collect import collect
from studies.engine.storage.results_dir import Store
from studies.engine.tracking.mirror import Mirror
from studies.engine.tracking.write_runs import Due, Writer


def test_nothing_new_imports_nothing(store: Store, plan: dict[str, Any]) -> None:
    folder = made.run_all(store, plan)
    close(store, folder)
    code = f"""
        import sys
        from pathlib import Path
        from studies.engine.storage.results_dir import Store
        from studies.engine.tracking.mirror import Mirror
        mirror = Mirror(Store(Path({str(store.root)!r})), Path({str(folder)!r}))
        assert mirror.update() and mirror.close(), mirror.problem
        loaded = sorted({{"mlflow", "pandas", "pyarrow", "scipy", "filelock", "sqlalchemy"}} & set(sys.modules))
        print("loaded", loaded)
    """
    out = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "loaded []"


def test_another_database_in_the_same_place_is_noticed(
    store: Store, plan: dict[str, Any], mlflow_database: Callable[[Path], Path]
) -> None:
    folder = made.run_all(store, plan)
    close(store, folder)
    mlflow_database(store.root)  # emptied; the file is the same inode
    close(store, folder)
    assert len(runs(store)) == 7


def test_the_terminal_stays_quiet(tmp_path: Path, plan: dict[str, Any]) -> None:
    """Also when the database is made, which is when alembic talks."""
    store = Store(tmp_path / "results")
    folder = made.write_plan(store, plan)
    made.run_trial(store, plan["trials"][0])
    code = f"""
        from pathlib import Path
        from studies.engine.storage.results_dir import Store
        from studies.engine.tracking.mirror import Mirror
        mirror = Mirror(Store(Path({str(store.root)!r})), Path({str(folder)!r}), say=print)
        assert mirror.close()
    """
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    out = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert (out.returncode, out.stdout, out.stderr) == (0, "", "")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["results"]
    assert sorted(p.name for p in store.root.iterdir() if not p.name.endswith(".lock")) == [
        "mlartifacts",
        "mlflow.db",
        "toy",
        "trials",
    ]


def test_a_server_that_is_not_there_is_one_line(
    store: Store, plan: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made.run_all(store, plan)
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    said: list[str] = []
    mirror = Mirror(store, folder, say=said.append)
    assert not mirror.update()
    assert not mirror.update()
    assert not mirror.close()
    assert said == [f"no MLflow server answers at http://127.0.0.1:{port} (`python -m studies sync toy` catches up)"]


def test_without_mlflow_one_line_and_no_failure(
    store: Store, plan: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made.run_all(store, plan)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    said: list[str] = []
    mirror = Mirror(store, folder, say=said.append)
    assert not mirror.update()
    assert not mirror.close()
    assert len(said) == 1
    assert "mlflow is not installed" in said[0]


def test_a_failure_is_remembered_and_made_good(
    store: Store, plan: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made.run_all(store, plan)
    said: list[str] = []
    mirror = Mirror(store, folder, say=said.append)
    real, calls = MlflowClient.log_batch, []

    def flaky(self: MlflowClient, *args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        if len(calls) % 7 == 3:
            raise OSError("database is locked\nand much more")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(MlflowClient, "log_batch", flaky)
    assert not mirror.update()
    assert said == ["database is locked (`python -m studies sync toy` catches up)"]
    monkeypatch.setattr(MlflowClient, "log_batch", real)
    collect(store, folder)
    assert mirror.close()
    assert mirror.problem == ""
    found = runs(store)
    assert len(found) == 7, "a run that was made before the failure is found again, not doubled"
    for trial in plan["trials"]:
        assert len(history(store, found[trial["folder"]], "train.loss")) == 3
        assert found[trial["folder"]].data.params["lr"] == "0.1"


@pytest.mark.parametrize("asked", ["false", "true"])
def test_an_error_is_known_however_the_shell_wants_logging(
    store: Store, plan: dict[str, Any], monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    folder = made.run_all(store, plan)
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_LOGGING", asked)

    def full(*args: Any, **kwargs: Any) -> Any:
        raise OSError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(SqlAlchemyStore, "log_batch", full)
        patch.setattr(SqlAlchemyStore, "log_batch_async", full, raising=False)
        mirror = Mirror(store, folder)
        assert not mirror.close()
    assert mirror.problem == "database or disk is full"
    assert mirror.synced == 0
    assert mirror.close()
    assert all(run.data.metrics for run in runs(store).values() if run.data.tags["kind"] == "trial")


def test_a_log_is_copied_whatever_letters_the_shell_has(store: Store, plan: dict[str, Any]) -> None:
    folder = made.run_all(store, plan)
    log = store.trial(plan["trials"][0]["folder"]).attempt_folder(0) / "log.txt"
    log.write_text("grün → ok\n", encoding="utf-8")
    shell = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    typed = [sys.executable, "-m", "studies", "sync", folder.name, "--results", str(store.root)]
    done = subprocess.run(typed, capture_output=True, env={**os.environ, **shell}, cwd=Path(__file__).parents[3])
    assert done.returncode == 0, done.stderr
    assert any(file.read_bytes() == log.read_bytes() for file in store.root.glob("mlartifacts/**/log.txt"))


def test_another_writer_is_not_waited_for_while_training(store: Store, plan: dict[str, Any]) -> None:
    from filelock import FileLock

    folder = made.run_all(store, plan)
    said: list[str] = []
    mirror = Mirror(store, folder, say=said.append)
    holder = "import sys; from filelock import FileLock; l = FileLock(sys.argv[1]); l.acquire(); print(1); input()"
    lock = store.root / "mlflow.db.lock"
    command = [sys.executable, "-uc", f"{holder}", str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"1\n"
        assert not mirror.update()
        other.communicate(b"\n")
    assert mirror.update()
    assert said == []
    assert FileLock(lock, timeout=0).acquire()


def test_a_deleted_run_comes_back(store: Store, plan: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made.run_all(store, plan)
    close(store, folder)
    first, second = (t["folder"] for t in plan["trials"][:2])
    client(store).delete_run(runs(store)[first].info.run_id)
    made.finish(store.trial(first), made.START + 5000)
    made.finish(store.trial(second), made.START + 5001)
    mirror = Mirror(store, folder)
    assert mirror.update()
    assert runs(store)[second].info.end_time == round((made.START + 5001) * 1000)
    assert len(history(store, runs(store)[first], "train.loss")) == 3
    client(store).delete_run(runs(store)[first].info.run_id)
    made.finish(store.trial(first), made.START + 5002)
    made.finish(store.trial(second), made.START + 5003)
    assert mirror.update(), "deleted while in use"
    assert runs(store)[second].info.end_time == round((made.START + 5003) * 1000)
    assert len(history(store, runs(store)[first], "train.loss")) == 3


def test_a_lone_failure_does_not_hide_the_rest(
    store: Store, plan: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made.run_all(store, plan)
    poisoned = plan["trials"][5]["folder"]
    real = Writer.write_trial

    def write(self: Writer, trial: Due) -> None:
        if trial.folder.id == poisoned:
            raise ValueError("poison")
        real(self, trial)

    monkeypatch.setattr(Writer, "write_trial", write)
    mirror = Mirror(store, folder)
    assert not mirror.update()
    assert mirror.problem == "poison"
    assert set(runs(store)) == {"", *(t["folder"] for t in plan["trials"])} - {poisoned}
