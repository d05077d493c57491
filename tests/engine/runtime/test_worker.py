"""One attempt at a trial: what it leaves, whichever way it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import toy

from studies.engine.core.files import read_json
from studies.engine.core.stop import StopRequest
from studies.engine.core.trial import State
from studies.engine.runtime import worker
from studies.engine.runtime.context import TrialContext
from studies.engine.storage.fence import Fence
from studies.engine.storage.results_dir import Store
from studies.engine.storage.trial_folder import TrialFolder

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _save_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studies.engine.runtime.context.CHECKPOINT_SECONDS", 0.0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def attempt(folder: TrialFolder, stop: StopRequest | None = None) -> str | None:
    return worker.run_attempt(folder, StopRequest() if stop is None else stop, inline=True)


def log(folder: TrialFolder, number: int = 0) -> str:
    return (folder.attempt_folder(number) / "log.txt").read_text()


def start_worker(*folders: TrialFolder, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "studies.engine.worker", *(str(folder.path) for folder in folders)],
        cwd=ROOT,
        env={**os.environ, "DYNVIT_HEARTBEAT": "0.2", "DYNVIT_CHECKPOINT_MINUTES": "0", **environment},
        start_new_session=True,
    )


def until(true: object, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def test_a_trial_done(store: Store) -> None:
    (folder,) = toy.place(store, toy.trial("a", steps=4))
    assert attempt(folder) == "done"
    state = folder.state()
    assert (state.status, state.attempt, state.step, state.steps) == ("done", 1, 4, 4)
    assert state.started <= state.ended
    result = folder.result()
    assert result is not None
    assert result["metrics"]["distance"] == pytest.approx(10 * 0.8**4, abs=0.05)
    assert result["cost"]["seconds"] >= 0
    assert [event.step for event in folder.events()] == [1, 2, 3, 4]
    env = read_json(folder.attempt_folder(0) / "env.json")
    assert env is not None
    assert env["packages"]["torch"]
    assert len(env["source"]) == 12
    assert sorted(f.name for f in folder.path.iterdir()) == [
        "attempts",
        "events.jsonl",
        "result.json",
        "spec.json",
        "state.json",
    ]
    assert attempt(folder) is None


def test_a_trial_failed(store: Store) -> None:
    (folder,) = toy.place(store, toy.trial("a", fault="raise"))
    assert attempt(folder) == "failed"
    assert folder.state().reason == "ValueError: raised as configured"
    assert "Traceback" in log(folder)
    assert folder.result() is None
    assert not folder.has_live_worker()
    assert attempt(folder) is None, "whether it is tried again is for the driver to decide"


@pytest.mark.parametrize(("fault", "reason"), [("memory", "oom"), ("nan", "FloatingPointError: loss is nan at step 2")])
def test_reasons(store: Store, fault: str, reason: str) -> None:
    (folder,) = toy.place(store, toy.trial("a", fault=fault))
    attempt(folder)
    assert folder.state().reason == reason


def test_a_stopped_trial_resumes(store: Store) -> None:
    undisturbed, folder = toy.place(store, toy.trial("a", steps=6), toy.trial("b", steps=6, fault="hang", attempts=1))
    attempt(undisturbed)
    stop = StopRequest()
    stop.request()
    assert attempt(folder, stop) == "stopped"
    assert folder.checkpoint_file.exists()
    assert folder.set_state_if_idle(State("queued", 1))
    assert attempt(folder) == "done"
    assert "resumed before step 2" in log(folder, 1)
    assert folder.result()["metrics"] == undisturbed.result()["metrics"]  # type: ignore[index]
    assert [e.metrics for e in folder.events()] == [e.metrics for e in undisturbed.events()]
    assert not folder.checkpoint_file.exists()


def test_preempted_is_run_again_by_any_worker(store: Store) -> None:
    (folder,) = toy.place(store, toy.trial("a"))
    stop = StopRequest()
    stop.request("preempted")
    assert attempt(folder, stop) == "preempted"
    assert attempt(folder) == "done"


def test_stopping_by_itself_is_a_failure(store: Store, tmp_path: Path) -> None:
    (folder,) = toy.place(store, toy.trial("a"))
    task = tmp_path / "quitter.py"
    task.write_text(
        "from dataclasses import dataclass\nclass Stopped(Exception): pass\n"
        "@dataclass(frozen=True)\nclass Config: pass\n"
        "REVISION = 1\nSMOKE = {}\ndef run(config, context): raise Stopped('of my own')\n"
    )
    folder.spec_file.write_text(json.dumps({"task": str(task), "config": {}, "seed": 0}))
    assert attempt(folder) == "failed"
    assert "of my own" in folder.state().reason


def test_a_failed_trial_starts_a_new_curve_without_a_checkpoint(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studies.engine.runtime.context.CHECKPOINT_SECONDS", 1e9)
    (folder,) = toy.place(store, toy.trial("a", steps=4, fault="raise", step=3, attempts=1))
    attempt(folder)
    assert len(list(folder.events())) == 3
    folder.set_state_if_idle(State("queued", 1))
    assert attempt(folder) == "done"
    assert [event.step for event in folder.events()] == [1, 2, 3, 4]
    assert (folder.attempt_folder(0) / "events.jsonl").read_text().count("\n") == 3


def test_a_truncated_curve_is_continued(store: Store) -> None:
    whole, folder = toy.place(
        store, toy.trial("w", steps=6), toy.trial("a", steps=6, fault="raise", step=4, attempts=1)
    )
    attempt(whole)
    attempt(folder)
    with open(folder.events_file, "a") as f:
        f.write('{"t": 1.0, "step": 5, "m": {"train.l')
    folder.set_state_if_idle(State("queued", 1))
    assert attempt(folder) == "done"
    assert "was removed" in log(folder, 1)
    assert [(e.step, e.metrics) for e in folder.events()] == [(e.step, e.metrics) for e in whole.events()]


@pytest.mark.parametrize("both", [False, True])
def test_a_truncated_checkpoint(store: Store, both: bool) -> None:
    """The one before it serves; where that is gone too the trial starts again. Either way the numbers are the same."""
    whole, folder = toy.place(
        store, toy.trial("w", steps=6), toy.trial("a", steps=6, fault="raise", step=4, attempts=1)
    )
    attempt(whole)
    attempt(folder)
    previous = folder.checkpoint_file.with_name("previous.pt")
    for file in [folder.checkpoint_file] + [previous] * both:
        file.write_bytes(file.read_bytes()[:-3])
    folder.set_state_if_idle(State("queued", 1))
    assert attempt(folder) == "done"
    assert "checkpoint last.pt is damaged, set aside" in log(folder, 1)
    assert ("resumed before step 3" in log(folder, 1)) is not both
    assert folder.result()["metrics"] == whole.result()["metrics"]  # type: ignore[index]
    assert [(e.step, e.metrics) for e in folder.events()] == [(e.step, e.metrics) for e in whole.events()]


def test_a_checkpoint_is_kept_where_the_config_says_so(store: Store) -> None:
    (folder,) = toy.place(store, toy.trial("a", keep_checkpoint=True))
    attempt(folder)
    assert folder.checkpoint_file.exists()


def test_a_worker_that_lost_its_lease_writes_nothing_more(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studies.engine.runtime.heartbeat.POLL_SECONDS", 0.02)
    monkeypatch.setattr("studies.engine.runtime.heartbeat.HEARTBEAT_SECONDS", 0.05)
    (folder,) = toy.place(store, toy.trial("a", steps=500, seconds=0.02))
    monkeypatch.setattr(TrialFolder, "renew_lease", lambda self, token: False)
    assert attempt(folder) is None
    assert "taken over this trial" in log(folder)
    assert folder.result() is None


def test_two_workers_of_which_one_gets_the_lease(store: Store, tmp_path: Path) -> None:
    folders = toy.place(store, *(toy.trial(f"t{i}", seconds=0.01, side=str(tmp_path)) for i in range(6)))
    both = [start_worker(*folders), start_worker(*folders)]
    assert [process.wait(240) for process in both] == [0, 0]
    assert sorted((tmp_path / "completed").read_text().split("\n")[:-1]) == [f"t{i} 1" for i in range(6)]


def test_what_a_process_and_its_children_print_is_in_the_log(store: Store) -> None:
    (folder,) = toy.place(store, toy.trial("a", fault="print"))
    assert start_worker(folder).wait(240) == 0
    assert "a word\n" in log(folder)
    assert "a word from a child\n" in log(folder)


def test_a_crash_takes_only_its_trial(store: Store) -> None:
    folders = toy.place(store, toy.trial("a"), toy.trial("b", fault="kill"), toy.trial("c"))
    assert start_worker(*folders).wait(240) == -signal.SIGKILL
    assert [folder.state().status for folder in folders] == ["done", "lost", "planned"]
    assert start_worker(*folders).wait(240) == 0
    assert [folder.state().status for folder in folders] == ["done", "lost", "done"]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, "stopped"), (signal.SIGUSR2, "preempted")])
def test_signals_save_and_stop(store: Store, number: signal.Signals, status: str) -> None:
    folders = toy.place(store, toy.trial("a", steps=500, seconds=0.02), toy.trial("b"))
    process = start_worker(*folders)
    until(lambda: folders[0].state().step > 2)
    process.send_signal(number)
    assert process.wait(240) == 0
    assert folders[0].state().status == status
    assert folders[0].checkpoint_file.exists()
    assert folders[1].state().status == "planned"


def test_a_stop_file_with_the_claims_token_stops_and_any_other_does_not(store: Store) -> None:
    (folder,) = toy.place(store, toy.trial("a", steps=500, seconds=0.02))
    process = start_worker(folder)
    until(lambda: folder.state().step > 0)
    folder.stop_file.write_text("of an earlier claim")
    time.sleep(0.5)
    assert process.poll() is None
    folder.stop_file.write_text(json.loads(folder.lease_file.read_text())["token"])
    assert process.wait(240) == 0
    assert folder.state().status == "stopped"


def test_a_worker_ends_with_its_parent(store: Store) -> None:
    """Also one whose task does not listen."""
    folders = toy.place(store, toy.trial("a", steps=5000, seconds=0.02), toy.trial("b", fault="deaf"))
    code = (
        "import subprocess, sys, os, time\nos.environ['DYNVIT_PARENT'] = str(os.getpid())\n"
        "both = [subprocess.Popen([sys.executable, '-m', 'studies.engine.worker', f], start_new_session=True)"
        " for f in sys.argv[1:]]\nprint(*[p.pid for p in both], flush=True)\ntime.sleep(600)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, *(str(folder.path) for folder in folders)],
        cwd=ROOT,
        env={**os.environ, "DYNVIT_HEARTBEAT": "0.2"},
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    until(lambda: all(folder.state().step > 0 for folder in folders))
    parent.kill()
    parent.wait()
    from studies.engine.core.processes import is_alive

    until(lambda: not any(map(is_alive, pids)), 120)
    assert folders[0].state().status == "stopped"
    assert folders[1].state().status == "lost"


def test_the_worker_needs_the_standard_library_only(store: Store) -> None:
    (folder,) = toy.place(store, toy.trial("a"))
    code = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in {'ray', 'mlflow', 'submitit', 'pydantic', 'click', 'rich', 'pandas',\n"
        "            'yaml', 'numpy', 'torch', 'filelock', 'scipy', 'pyarrow', 'jinja2', 'seaborn'}:\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from studies.engine.runtime.worker import main\n"
        "from studies.engine.launchers import inline, local\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder.path)], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert folder.state().status == "done"


def test_a_missing_spec_is_reported(store: Store) -> None:
    (folder,) = toy.place(store, toy.trial("a"))
    folder.spec_file.write_text("{")
    attempt(folder)
    assert "spec.json is missing or damaged" in folder.state().reason


def test_a_task_that_refuses_its_checkpoint_starts_a_new_curve(store: Store) -> None:
    """Another version's checkpoint, say: what is logged then is a new run's, not a replay."""
    from studies.engine.runtime.context import TrialContext

    (folder,) = toy.place(store, toy.trial("a"))
    token = folder.acquire_lease()
    assert token
    first = TrialContext(Fence(folder, token, 0), 0, "cpu", StopRequest())
    for step in (1, 2, 3):
        first.log(step, {"loss": 1.0})
    first.save(lambda path: path.write_text("x") and None)
    first.log(4, {"loss": 1.0})
    replay = TrialContext(Fence(folder, token, 1), 0, "cpu", StopRequest())
    assert replay.load() == folder.checkpoint_file
    replay.log(4, {"loss": 2.0})
    assert [event.metrics["loss"] for event in folder.events()] == [1.0] * 4
    again = TrialContext(Fence(folder, token, 2), 0, "cpu", StopRequest())
    for step in (1, 2):
        again.log(step, {"loss": 3.0})
    assert [event.metrics["loss"] for event in folder.events()] == [3.0, 3.0]
    assert (folder.attempt_folder(1) / "events.jsonl").exists()


def test_the_time_of_a_trial_counts_what_its_checkpoint_took(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    (folder,) = toy.place(store, toy.trial("a"))
    token = str(folder.acquire_lease())
    first = TrialContext(Fence(folder, token, 0), 0, "cpu", StopRequest())
    first.log(2, {"loss": 1.0})
    now += 5
    first.save(lambda path: path.write_text("x") and None)
    now += 50  # lost with the process
    again = TrialContext(Fence(folder, token, 1), 0, "cpu", StopRequest())
    now += 2
    assert again.seconds == 7
    again.log(1, {"loss": 1.0})  # begins anew, without the checkpoint
    assert again.seconds == 2


@pytest.fixture
def context(store: Store) -> Iterator[TrialContext]:
    (folder,) = toy.place(store, toy.trial("a"))
    folder.attempt_folder(0).mkdir(parents=True)
    fence = Fence(folder, str(folder.acquire_lease()), 0)
    opened = TrialContext(fence, 0, "cpu", StopRequest())
    yield opened
    opened.close()


@pytest.mark.parametrize("wrong", ["x", 1.5, 2**53, None])
def test_a_step_that_no_file_can_hold_is_refused(context: TrialContext, wrong: object) -> None:
    """It would make the trial's own state and curve damaged files."""
    context.log(True, {"a": 1})
    with pytest.raises((TypeError, ValueError)):
        context.log(wrong, {"a": 2})  # type: ignore[arg-type]
    assert wrong is None or (context.step, context.steps) == (1, None)
    events = list(TrialFolder(context.folder).events())
    assert [(type(event.step), event.step) for event in events] == [(int, 1)]


@pytest.mark.parametrize("name", ["", ".", "..", "../../x", "/x", "a/b"])
def test_an_artifact_lies_in_the_trial_s_folder(context: TrialContext, name: str) -> None:
    before = sorted(context.folder.parent.rglob("*"))
    with pytest.raises(ValueError, match="no plain file name"):
        context.save_artifact(name, b"1")
    assert sorted(context.folder.parent.rglob("*")) == before


@pytest.mark.parametrize("key", [3, "\ud800"])
def test_a_metric_s_name_that_is_no_text_is_refused(context: TrialContext, key: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        context.log(1, {key: 1.0})  # type: ignore[dict-item]
    assert (context.latest, list(TrialFolder(context.folder).events())) == ({}, [])


def test_trials_behind_a_link_find_what_is_beside_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the trials are on a larger disk: own code is beside the link."""
    elsewhere = store.root.parent / f"{store.root.name}.large"
    elsewhere.mkdir()
    store.trials.symlink_to(elsewhere)
    (folder,) = toy.place(store, toy.trial("a"))
    asked: list[Path] = []
    monkeypatch.setattr(worker.own_modules, "load", lambda spec, results: asked.append(results) or str(toy.TASK))
    assert worker.main([str(folder.path)]) == 0
    assert asked == [store.root]
