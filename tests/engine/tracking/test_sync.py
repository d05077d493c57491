"""MLflow can be deleted: `sync` writes everything again, and writing twice changes nothing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import made_study as made
import pytest
from click.testing import CliRunner, Result
from mirrored_runs import key
from mlflow import MlflowClient

from studies.engine.cli.main import cli
from studies.engine.cli.options import UsageError
from studies.engine.results.collect import collect
from studies.engine.storage.results_dir import Store
from studies.engine.tracking import mlflow_runs, write_runs
from studies.engine.tracking.mirror import Mirror


def everything(store: Store) -> dict[str, Any]:
    """Every active run by trial id (the parent under ""), without what MLflow makes up: run ids and artifact places."""
    client = MlflowClient(tracking_uri=f"sqlite:///{store.root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("toy").experiment_id
    found: dict[str, Any] = {}
    listed = client.search_runs([experiment], max_results=1000)
    names = {run.info.run_id: key(run) for run in listed}
    for run in listed:
        name = names[run.info.run_id]
        assert name not in found, f"two runs for {name}"
        tags = dict(run.data.tags)
        if "mlflow.parentRunId" in tags:
            tags["mlflow.parentRunId"] = names[tags["mlflow.parentRunId"]]
        histories = {
            key: sorted((p.step, p.timestamp, p.value) for p in client.get_metric_history(run.info.run_id, key))
            for key in run.data.metrics
        }
        artifacts = [f.path for f in client.list_artifacts(run.info.run_id)]
        info = (run.info.run_name, run.info.status, run.info.start_time, run.info.end_time)
        found[name] = (info, run.data.params, tags, histories, artifacts)
    return found


def lived(store: Store) -> Path:
    """A study mirrored while it ran: piecemeal, with a failure, a resumed trial and one that restarted."""
    plan = made.make_plan(seeds=3)
    plan["trials"] = plan["trials"][:7]
    folder = made.write_plan(store, plan)
    mirror = Mirror(store, folder)
    for index, planned in enumerate(plan["trials"]):
        trial = made.create(store, planned)
        at = made.START + 100 * index
        made.start(trial, at)
        assert mirror.update()
        made.log(trial, 1, at + 1, train__loss=1.0 + index)
        assert mirror.update()
        if index == 2:
            made.fail(trial, at + 2)
            assert mirror.update()
            made.start(trial, at, attempt=2)
        if index == 3:  # no checkpoint: starts from nothing
            trial.events_file.rename(trial.attempt_folder(0) / "events.jsonl")
            made.start(trial, at, attempt=2)
            made.log(trial, 1, at + 11, train__loss=0.5)
            assert mirror.update()
        made.log(trial, 2, at + 20, train__loss=0.25, val__loss=float(index))
        if index == 6:
            made.fail(trial, at + 30, reason="ValueError: NaN")
        else:
            made.finish(trial, at + 50, top1=90.0 + index)
        if index == 4:
            collect(store, folder)
            assert mirror.close()  # as when the run is interrupted and continued
    collect(store, folder)
    assert mirror.close(), mirror.problem
    return folder


def test_a_deleted_database_comes_back_the_same(store: Store, tmp_path: Path) -> None:
    """By the command a user types, in a process of its own, which also makes the database."""
    lived(store)
    before = everything(store)
    assert len(before) == 10
    assert before["sret/baseline"][3]["top1.mean"][-1][2] == 91.0
    points = sum(len(rows) for _, _, _, histories, _ in before.values() for rows in histories.values())
    assert points > 40
    (store.root / "mlflow.db").unlink()
    shutil.rmtree(store.root / "mlartifacts")
    typed = [sys.executable, "-m", "studies", "sync", "toy", "--results", str(store.root)]
    done = subprocess.run(typed, capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert (done.returncode, done.stderr) == (0, "")
    assert "7 trials" in done.stdout
    moved = Store(tmp_path / "moved")  # this process still holds the file that was deleted
    store.root.rename(moved.root)
    (store.root / "mlartifacts").parent.mkdir()
    (store.root / "mlartifacts").symlink_to(moved.root / "mlartifacts")
    assert everything(moved) == before


def test_it_comes_back_the_same_without_being_asked(store: Store, mlflow_database: Callable[[Path], Path]) -> None:
    """`run` on a finished study notices that the database is a new one."""
    folder = lived(store)
    before = everything(store)
    mlflow_database(store.root)
    assert Mirror(store, folder).close()
    assert everything(store) == before


def test_syncing_twice_changes_nothing(store: Store) -> None:
    folder = lived(store)
    before = everything(store)
    for _ in range(2):
        assert Mirror(store, folder).sync()
        assert everything(store) == before
    ids = set(runs_of(store))
    assert Mirror(store, folder).sync()
    assert set(runs_of(store)) == ids, "links to runs stay valid"


def test_a_repeated_sync_reads_and_writes_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of seven trials the failed one alone is read: whether it still is may depend on more than its files."""
    folder = lived(store)
    assert Mirror(store, folder).sync()
    calls: list[str] = []
    for owner, name in ((mlflow_runs.Runs, "put"), (mlflow_runs.Runs, "points"), (write_runs, "read")):
        real = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *a, name=name, real=real: (calls.append(name), real(*a))[1])
    assert Mirror(store, folder).sync()
    assert set(calls) == {"read"}
    assert len(calls) <= 2  # is the parent's run due, are trials due
    calls.clear()
    made.log(store.trial(next(store.trials.iterdir()).name), 9, made.START, late=1.0)
    assert Mirror(store, folder).sync()
    assert {"put", "points"} <= set(calls)


def test_files_that_were_deleted_come_back(store: Store) -> None:
    folder = lived(store)
    before = everything(store)
    shutil.rmtree(store.root / "mlartifacts")
    assert Mirror(store, folder).sync()
    assert everything(store) == before


def test_only_a_database_that_is_being_made_skips_syncs_of_the_disk(tmp_path: Path) -> None:
    """Seen from SQLAlchemy, for every commit: with a new file, and with one that was there."""
    store = Store(tmp_path)
    made.run_all(store, made.make_plan(seeds=1))
    code = f"""
        from pathlib import Path
        from sqlalchemy import event
        from sqlalchemy.engine import Engine
        import made_study as made
        from studies.engine.storage.results_dir import Store
        from studies.engine.tracking.mirror import Mirror
        store, seen = Store(Path({str(tmp_path)!r})), set()
        level = lambda connection: connection.connection.execute("PRAGMA synchronous").fetchone()[0]
        event.listen(Engine, "commit", lambda connection: seen.add(level(connection)))
        assert Mirror(store, store.study("toy")).sync()
        print(seen)
        seen.clear()
        made.finish(store.trial(next(store.trials.iterdir()).name), made.START + 7000)
        assert Mirror(store, store.study("toy")).sync()
        print(seen)
    """
    given = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MLFLOW_TRACKING_URI": ""}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    out = subprocess.run(command, capture_output=True, text=True, check=True, env=given)
    assert out.stdout.split() == ["{0}", "{2}"]


def runs_of(store: Store) -> list[str]:
    client = MlflowClient(tracking_uri=f"sqlite:///{store.root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("toy").experiment_id
    return [run.info.run_id for run in client.search_runs([experiment], max_results=1000)]


def test_what_was_lost_in_part_is_added(store: Store) -> None:
    folder = lived(store)
    before = everything(store)
    client = MlflowClient(tracking_uri=f"sqlite:///{store.root / 'mlflow.db'}")
    for run in runs_of(store)[1:3]:
        client.delete_run(run)
    assert everything(store) != before
    assert Mirror(store, folder).sync()
    assert everything(store) == before


@pytest.mark.parametrize("how", [Mirror.update, Mirror.close])
def test_a_lost_memory_costs_only_time(store: Store, how: Callable[[Mirror], bool]) -> None:
    folder = lived(store)
    before, ids = everything(store), set(runs_of(store))
    (folder / ".mirror.json").write_text('{"token": 1, "tr')
    assert how(Mirror(store, folder))
    assert everything(store) == before
    assert set(runs_of(store)) == ids


@pytest.mark.parametrize("call", ["MlflowClient.create_run", "shutil.copyfile", "MlflowClient.log_batch"])
def test_a_writer_that_is_killed_leaves_nothing_double(store: Store, call: str) -> None:
    """Killed right after its third call of a kind; the next `close` completes what is there."""
    folder = lived(store)
    before = everything(store)
    for run in runs_of(store):
        MlflowClient(tracking_uri=f"sqlite:///{store.root / 'mlflow.db'}").delete_run(run)
    code = f"""
        import os, shutil, signal
        from pathlib import Path
        from mlflow import MlflowClient
        from studies.engine.storage.results_dir import Store
        from studies.engine.tracking.mirror import Mirror
        real, calls = {call}, []
        def killed(*args, **kwargs):
            calls.append(real(*args, **kwargs))
            if len(calls) == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            return calls[-1]
        {call} = killed
        Mirror(Store(Path({str(store.root)!r})), Path({str(folder)!r})).sync()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert runs_of(store)
    mirror = Mirror(store, folder)
    assert mirror.close(), mirror.problem
    assert everything(store) == before


def test_params_of_another_version_are_replaced(store: Store) -> None:
    """Params cannot be changed in MLflow; a run that has others is replaced."""
    folder = lived(store)
    trial = next(store.trials.iterdir())
    spec = trial / "spec.json"
    spec.write_text(spec.read_text().replace('"lr": 0.1', '"lr": 0.2'))
    assert Mirror(store, folder).sync()
    assert everything(store)[trial.name][1]["lr"] == "0.2"


def test_a_deleted_experiment_is_restored(store: Store) -> None:
    folder = lived(store)
    before = everything(store)
    client = MlflowClient(tracking_uri=f"sqlite:///{store.root / 'mlflow.db'}")
    client.delete_experiment(client.get_experiment_by_name("toy").experiment_id)
    assert Mirror(store, folder).sync()
    assert everything(store) == before


def test_a_database_deleted_while_in_use_is_reported(store: Store) -> None:
    """MLflow keeps the deleted file open, so what this process writes would be lost silently."""
    folder = lived(store)
    said: list[str] = []
    mirror = Mirror(store, folder, say=said.append)
    trial = next(store.trials.iterdir())
    made.finish(store.trial(trial.name), made.START + 7000)
    assert mirror.update()
    (store.root / "mlflow.db").unlink()
    assert not mirror.update()
    assert len(said) == 1
    assert "was replaced while it was in use" in said[0]


def run(store: Store, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["sync", *arguments, "--results", str(store.root)], standalone_mode=False)


def test_all_studies_at_once_also_labelled_ones(store: Store) -> None:
    for label in ("", "smoke"):
        plan = made.make_plan(seeds=1, label=label)
        plan["trials"] = plan["trials"][:2]
        made.run_all(store, plan)
    result = run(store, "--all")
    assert result.return_value == 0, result.output
    assert [line.split("experiment ")[1].split(" in ")[0] for line in result.output.splitlines()] == [
        "toy  2 trials",
        "toy@smoke  2 trials",
    ]
    assert run(store, "toy@smoke").output.count("experiment toy@smoke") == 1


def test_a_server_that_is_not_there_is_exit_code_1(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made.run_all(store, made.make_plan(seeds=1))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    result = run(store, "toy")
    assert result.return_value == 1
    assert result.output == "mlflow    toy: no MLflow server answers at http://127.0.0.1:9\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "takes a STUDY or --all"),
        (("toy", "--all"), "takes a STUDY or --all"),
        (("toy",), "toy has not been run in"),
        (("--all",), "nothing has been run in"),
    ],
)
def test_wrong_arguments(store: Store, arguments: tuple[str, ...], message: str) -> None:
    result = run(store, *arguments)
    assert isinstance(result.exception, UsageError)
    assert message in result.exception.message


def test_runs_beyond_the_first_page_are_known(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = lived(store)
    before, ids = everything(store), set(runs_of(store))
    monkeypatch.setattr(mlflow_runs, "MAX_RUNS", 2)
    assert Mirror(store, folder).sync()
    assert everything(store) == before
    assert set(runs_of(store)) == ids
