"""The mirror over http against a real MLflow server: the same runs, and one line when the server dies."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import made_study as made
import pytest
from mlflow import MlflowClient

from studies.engine.results.collect import collect
from studies.engine.storage.results_dir import Store
from studies.engine.tracking.mirror import Mirror

pytestmark = pytest.mark.cluster
START_SECONDS = 120


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, empty_mlflow_database: Path) -> Iterator[tuple[str, Any]]:
    folder = tmp_path_factory.mktemp("server")
    shutil.copyfile(empty_mlflow_database, folder / "mlflow.db")
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--artifacts-destination", str(folder / "art")),
    ]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (
        open(folder / "log", "w") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True) as process,
    ):
        uri = f"http://127.0.0.1:{port}"
        try:
            _wait(f"{uri}/health", process, folder / "log")
            yield uri, process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def _wait(url: str, process: Any, log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(log.read_text()[-2000:])


def test_results_folders_that_share_a_server_leave_each_others_runs(
    server: tuple[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, _ = server
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    client = MlflowClient(tracking_uri=uri)

    def runs(name: str) -> set[tuple[str, str]]:
        found = client.get_experiment_by_name(name)
        listed = client.search_runs([found.experiment_id])
        return {(run.info.run_id, run.data.tags.get("removed", "")) for run in listed}

    mine, other = Store(tmp_path / "mine"), Store(tmp_path / "other")
    places = [made.run_all(store, made.make_plan(seeds=1, name="shared")) for store in (mine, other)]
    made.finish(other.trial(made.make_plan(seeds=1)["trials"][0]["folder"]), made.START + 90, top1=5.0)
    first = Mirror(mine, places[0])
    assert first.sync(), first.problem
    before = runs("shared")
    second = Mirror(other, places[1])
    assert second.sync(), second.problem
    assert runs("shared") == before, "runs of another results folder were changed"
    own = f"shared ({socket.gethostname()}:{places[1]})"
    assert second.where.endswith(f"experiment {own}")
    assert first.where.endswith("experiment shared")
    after = runs(own)
    assert len(after) == len(before)

    for name in ("shared", own):
        client.rename_experiment(client.get_experiment_by_name(name).experiment_id, f"{name} of May")
    moved = Store(mine.root.rename(tmp_path / "moved"))
    assert Mirror(moved, moved.study("shared")).sync()
    (places[1] / ".mirror.json").unlink()
    assert Mirror(other, places[1]).sync()
    assert (runs("shared of May"), runs(f"{own} of May")) == (before, after), "found again where it was"
    assert client.get_experiment_by_name("shared") is None


def test_a_server_gets_the_same_runs_and_its_death_is_one_line(
    server: tuple[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    uri, process = server
    secret = uri.replace("://", "://me:open%2Fsesame@")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", secret)
    store, plan = Store(tmp_path / "results"), made.make_plan(seeds=1)
    folder = made.run_all(store, plan)
    kept = store.trial(plan["trials"][0]["folder"])
    (kept.path / "best.safetensors").write_text("weights")
    result = json.loads(kept.result_file.read_text())
    kept.set_result({**result, "kept_weights": {"file": "best.safetensors", "sha256": "cafe"}})
    collect(store, folder)
    said: list[str] = []
    mirror = Mirror(store, folder, say=said.append)
    assert mirror.close(), mirror.problem
    experiment = MlflowClient(tracking_uri=uri).get_experiment_by_name("toy").experiment_id
    assert mirror.where == f"{uri}/#/experiments/{experiment}/runs?workflowType=machine_learning  experiment toy"
    assert json.loads((folder / ".mirror.json").read_text())["uri"] == uri
    assert not [file for file in folder.rglob("*") if file.is_file() and b"sesame" in file.read_bytes()]
    client = MlflowClient(tracking_uri=uri)
    runs = {r.data.tags.get("trial_id"): r for r in client.search_runs([experiment])}
    assert set(runs) == {None, *(t["folder"] for t in plan["trials"])}
    run = runs[plan["trials"][0]["folder"]]
    assert run.info.status == "FINISHED"
    assert [p.value for p in client.get_metric_history(run.info.run_id, "train.loss")] == [1.0, 0.5, 1 / 3]
    assert {f.path for f in client.list_artifacts(run.info.run_id)} == {"spec.json", "result.json", "log.txt"}
    assert run.data.metrics["top1"] == 80.0
    [model] = client.search_logged_models([experiment])
    assert (model.tags["trial_id"], str(model.status)) == (kept.id, "READY")
    assert [file.path for file in client.list_logged_model_artifacts(model.model_id)] == ["best.safetensors"]
    assert client.get_experiment(experiment).tags["mlflow.experimentKind"] == "custom_model_development"
    assert not (store.root / "mlflow.db").exists()
    assert Mirror(store, folder).sync()
    assert len(client.search_runs([experiment])) == 7

    assert capfd.readouterr() == ("", ""), "MLflow likes to print addresses"

    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    trial = store.trial(plan["trials"][0]["folder"])
    made.finish(trial, made.START + 5000)
    began = time.monotonic()
    assert not mirror.update()
    assert not mirror.update()
    assert time.monotonic() - began < 20
    assert said == [f"no MLflow server answers at {uri} (`python -m studies sync toy` catches up)"]
    assert capfd.readouterr() == ("", "")
