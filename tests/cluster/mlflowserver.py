"""A real `mlflow server` on loopback that can be killed, frozen and started again; PostgreSQL below it if asked."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from farm import missing, need

from studies.engine.storage.results_dir import Store

START_SECONDS = 150
STATUS = {"done": "FINISHED", "failed": "FAILED", "lost": "KILLED", "stopped": "KILLED"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as held:
        return int(held.getsockname()[1])


class Server:
    def __init__(self, folder: Path, backend: str = "") -> None:
        self.folder, self.port = folder, free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.backend = backend or f"sqlite:///{folder / 'mlflow.db'}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)),
            *("--workers", "1", "--backend-store-uri", self.backend),
            *("--artifacts-destination", str(self.folder / "artifacts")),
        ]
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                command, env={**os.environ, **quiet}, stdout=log, stderr=log, start_new_session=True
            )

    def wait(self) -> None:
        """Until it answers."""
        assert self.process is not None
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and self.process.poll() is None:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=2):
                return
            time.sleep(0.2)
        raise AssertionError((self.folder / "log").read_text()[-2000:])

    def start_again(self) -> None:
        """Where it is not running; until it answers."""
        if self.process is None or self.process.poll() is not None:
            self.start()
        self.wait()

    def send(self, number: int) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, number)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()


@contextlib.contextmanager
def server(folder: Path, backend: str = "") -> Iterator[Server]:
    need("an MLflow server", packages=("mlflow", "uvicorn"))
    folder.mkdir(exist_ok=True)
    made = Server(folder, backend)
    try:
        made.start()
        made.wait()
        yield made
    finally:
        made.send(signal.SIGCONT)
        made.kill()


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """The URI of an empty database; everything below one temporary folder."""
    need("MLflow on PostgreSQL", packages=("psycopg2",))
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    programs = found[-1] if found else Path(shutil.which("initdb") or "/nonexistent").parent
    if not (programs / "initdb").exists():
        missing("MLflow on PostgreSQL", "not installed here: postgresql")
    folder, port = Path(tempfile.mkdtemp(prefix="dynvit-pg-", dir="/tmp")), free_port()
    root = os.getuid() == 0  # initdb refuses root
    if root:
        need("PostgreSQL as another user", "runuser")
        shutil.chown(folder, "postgres")
    other = ["runuser", "-u", "postgres", "--"] if root else []
    data, log = folder / "data", open(folder.with_suffix(".log"), "wb")  # noqa: SIM115
    settings = [f"port={port}", "listen_addresses=127.0.0.1", "fsync=off", f"unix_socket_directories={folder}"]
    process: subprocess.Popen[bytes] | None = None
    try:
        make = [*other, str(programs / "initdb"), "-D", str(data), "-A", "trust", "-U", "mlflow"]
        subprocess.run(make, check=True, stdout=log, stderr=log, cwd="/")
        options = [word for setting in settings for word in ("-c", setting)]
        process = subprocess.Popen(
            [*other, str(programs / "postgres"), "-D", str(data), *options],
            stdout=log, stderr=log, cwd="/", start_new_session=True,
        )  # fmt: skip
        until = time.monotonic() + 30
        ready = [str(programs / "pg_isready"), "-h", "127.0.0.1", "-p", str(port), "-q"]
        while subprocess.run(ready).returncode:
            assert time.monotonic() < until, Path(log.name).read_text()[-2000:]
            time.sleep(0.1)
        yield f"postgresql+psycopg2://mlflow@127.0.0.1:{port}/postgres"
    finally:
        log.close()
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            pid_file = data / "postmaster.pid"
            with contextlib.suppress(OSError, ValueError):
                os.kill(int(pid_file.read_text().split()[0]), signal.SIGINT)  # fast shutdown
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(240)
        shutil.rmtree(folder, ignore_errors=True)
        Path(log.name).unlink(missing_ok=True)


def compare(store: Store, experiment: str, uri: str) -> dict[str, int]:
    """Every point and every status of every trial; how many there are of each status."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(experiment)
    runs = client.search_runs([found.experiment_id], max_results=500)
    by_trial = {run.data.tags["trial_id"]: run for run in runs if "trial_id" in run.data.tags}
    folders = {folder.name: store.trial(folder.name) for folder in store.trials.iterdir()}
    started = {name for name, folder in folders.items() if folder.state().attempt}
    assert set(by_trial) == started
    kinds = [run.data.tags["kind"] for run in runs]
    assert (kinds.count("trial"), kinds.count("study")) == (len(started), 1), "no run twice"
    arms = [(run.data.tags["part"], run.data.tags["arm"]) for run in runs if run.data.tags["kind"] == "arm"]
    assert len(arms) == len(set(arms)) > 0
    statuses: dict[str, int] = {}
    for name, run in by_trial.items():
        state, events = folders[name].state(), list(folders[name].events())
        assert run.info.status == STATUS[state.status], (name, state)
        statuses[run.info.status] = statuses.get(run.info.status, 0) + 1
        for key in {key for event in events for key in event.metrics}:
            wanted = sorted((e.step, round(e.time * 1000), e.metrics[key]) for e in events if key in e.metrics)
            points = client.get_metric_history(run.info.run_id, key)
            assert sorted((p.step, p.timestamp, p.value) for p in points) == wanted, (name, key)
    return statuses
