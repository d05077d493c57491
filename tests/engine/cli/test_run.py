"""The verbs run, status, logs and stop, as a user types them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from toy import TASK

from studies.engine.cli import main
from studies.engine.launchers.ray import session
from studies.engine.storage.lease import Lease
from studies.engine.storage.results_dir import Store

ROOT = Path(__file__).parents[3]
STUDY = """
study: small
title: A small one
task: {task}
seeds: [0, 1]
base: {{train: {{steps: 4}}}}
axes: {{{axis}: {axes}}}
design: [{{one_at_a_time: [{axis}]}}]
metrics: {{score: {{from: best, direction: max}}}}
resources: {{retries: 0}}
"""
BARE = """
from studies.engine.cli import finish_run as finish, main as cli
from studies.engine.tracking import mirror as track
finish.render = lambda store, folder, say: None
track.Mirror.update = track.Mirror.close = lambda self: True
cli.main()
"""
"""The command without MLflow and tables, which have their own tests."""
AXES = {
    "depth": "{key: depth, values: [1, 2], baseline: 1}",
    "kind": "{key: fault.kind, values: [none, raise], baseline: none}",
}


@dataclass
class Typed:
    code: int
    out: str
    err: str


class Shell:
    """Types commands, in this process or in the background."""

    def __init__(self, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.place, self.results, self._capsys, self._patch = place, place / "results", capsys, monkeypatch
        self.store = Store(self.results)
        self.study = place / "small.yaml"
        self.process: subprocess.Popen[str] | None = None
        self.write("depth")

    def write(self, axis: str) -> None:
        self.study.write_text(STUDY.format(task=TASK, axis=axis, axes=AXES[axis]))

    def __call__(self, *words: str) -> Typed:
        self._patch.setattr(sys, "argv", ["studies", *words, "--results", str(self.results)])
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main.main()
        read = self._capsys.readouterr()
        return Typed(int(ended.value.code or 0), read.out, read.err)

    def run(self, *words: str, on: str = "inline") -> Typed:
        return self("run", str(self.study), "--on", on, *words)

    def background(self, *words: str, on: str = "inline", **environment: str) -> subprocess.Popen[str]:
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                BARE,
                "run",
                str(self.study),
                "--on",
                on,
                "--results",
                str(self.results),
                *words,
            ],
            cwd=ROOT,
            env={**os.environ, "DYNVIT_HEARTBEAT": "0.2", "DYNVIT_CHECKPOINT_MINUTES": "0", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        return self.process

    def running(self, count: int = 1) -> None:
        """Wait until that many trials have taken a step."""
        assert self.process is not None
        until(
            lambda: (
                self.process.poll() is not None
                or sum(s.get("step", 0) > 0 for s in map(_state, self.store.trials.glob("*/state.json"))) >= count
            )
        )


def _state(file: Path) -> dict[str, int]:
    try:
        return dict(json.loads(file.read_text()))
    except (OSError, ValueError):
        return {}


def until(true: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    monkeypatch.setattr("studies.engine.cli.finish_run.render", lambda store, folder, say: None)
    monkeypatch.setattr("studies.engine.tracking.mirror.Mirror.update", lambda self: True)
    monkeypatch.setattr("studies.engine.tracking.mirror.Mirror.close", lambda self: True)
    made = Shell(tmp_path, capsys, monkeypatch)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.process.kill()


# ---- run


def test_all_done_and_then_nothing_to_do(shell: Shell) -> None:
    first = shell.run()
    assert first.code == 0
    assert first.out.startswith("plan      4 trials, inline\n")
    assert first.out.count("\ndone      ") == 5
    assert "done      4/4 trials, 0 failed" in first.out
    again = shell.run()
    assert again.code == 0
    assert again.out.startswith("plan      nothing to run\n")
    assert [shell.store.trial(p.name).state().attempt for p in shell.store.trials.iterdir()] == [1] * 4


def test_for_programs_the_outcome_is_all_of_stdout(shell: Shell) -> None:
    got = shell.run("--json")
    found = json.loads(got.out)
    assert (found["code"], found["counts"]) == (0, {"done": 4})
    assert got.err.startswith("plan      4 trials, inline\n")
    trial = found["trials"][0]["trial"]
    log = json.loads(shell("logs", trial, "--json").out)
    assert (log["trial"], log["status"], bool(log["lines"])) == (trial, "done", True)
    assert json.loads(shell("stop", "small", "--json").out) == {
        "study": "small", "asked": 0, "withdrawn": 0, "stopped": True
    }  # fmt: skip


def test_failed_trials_are_rows_and_exit_code_1(shell: Shell) -> None:
    shell.write("kind")
    got = shell.run()
    assert got.code == 1
    assert "done      2/4 trials, 2 failed" in got.out
    assert "ValueError: raised as configured  (studies logs" in got.out
    assert "failed 2" in shell("status", "small").out


def test_only_what_is_missing_runs(shell: Shell) -> None:
    assert shell.run("--seeds", "0").out.startswith("plan      2 trials")
    got = shell.run()
    assert got.out.startswith("plan      2 trials")
    assert got.code == 0


def test_rerun_restarts_and_keeps_the_old_files(shell: Shell) -> None:
    shell.run()
    got = shell.run("--rerun", "all")
    assert got.out.startswith("plan      4 trials")
    for path in shell.store.trials.iterdir():
        folder = shell.store.trial(path.name)
        assert folder.state().attempt == 2
        assert (folder.attempt_folder(0) / "result.json").exists()
        assert len(list(folder.events())) == 4


def test_results_of_older_code_are_not_reused_in_silence(shell: Shell) -> None:
    shell.run()
    folder = shell.store.trial(min(path.name for path in shell.store.trials.iterdir()))
    file = next(folder.path.glob("attempts/*/env.json"))
    file.write_text(json.dumps({**json.loads(file.read_text()), "source": "older"}))
    said = "\nstale     1 done trial of older code; `--rerun stale` trains them again\n"
    assert said in shell.run().out
    assert said not in shell.run("--rerun", "stale").out
    assert folder.state().attempt == 2
    assert "stale" not in shell.run().out


def test_a_second_driver_learns_which_process_runs(shell: Shell) -> None:
    folder = shell.store.study("small")
    folder.mkdir(parents=True)
    token = Lease(folder / "driver").acquire()
    got = shell.run()
    assert got.code == 2
    assert f"small is being run by process {os.getpid()} on" in got.err
    assert token
    Lease(folder / "driver").release(token)
    assert shell.run().code == 0


def test_an_unknown_launcher(shell: Shell) -> None:
    got = shell.run(on="inlin")
    assert (got.code, got.err) == (2, '--on  no launcher inlin, did you mean "inline"?\n1 error\n')


def test_a_results_folder_that_cannot_be_written(shell: Shell) -> None:
    (shell.place / "file").write_text("")
    shell.results = shell.place / "file" / "results"
    got = shell.run()
    assert got.code == 2
    assert got.err.startswith(f"results folder {shell.results} cannot be written: ")
    assert got.err.count("\n") == 1


def test_a_disk_that_is_full_from_the_start(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def replace(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", replace)
    got = shell.run()
    assert got.code == 2
    assert "No space left on device; finished trials are kept" in got.err
    assert got.err.count("\n") == 1


def test_a_disk_that_fills_up_loses_nothing(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.replace

    def replace(source: str, target: str) -> None:
        if len(list(shell.store.trials.glob("*/result.json"))) == 2:
            raise OSError(28, "No space left on device")
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        got = shell.run()
    assert got.code == 1
    assert "No space left on device" in got.err
    got = shell.run()
    assert got.code == 0
    assert "done      4/4" in got.out


def test_tables_and_mlflow_in_trouble_do_not_hide_the_trials(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    from studies.engine.cli import finish_run

    monkeypatch.undo()
    monkeypatch.setattr("studies.engine.tracking.mirror.Mirror.is_behind", lambda self, final: 1 / 0)
    monkeypatch.setattr("paper_tables.build", lambda folder: 1 / 0)
    assert finish_run.render.__module__ == "studies.engine.cli.finish_run"
    shell._patch = monkeypatch
    got = shell.run()
    assert got.code == 0
    assert "tables    not rendered: division by zero" in got.out
    assert "mlflow    division by zero" in got.out
    assert "done      4/4" in got.out


def test_without_a_terminal_nothing_is_asked(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studies.engine.cli.commands.run.ASK_ABOVE_SECONDS", -1.0)
    shell.run("--seeds", "0")
    assert shell.run().code == 0


# ---- Ctrl-C, from outside


@pytest.mark.parametrize("on", ["inline", "local"])
def test_ctrl_c_once_saves_and_the_command_goes_on(shell: Shell, on: str) -> None:
    slow = ("--set", "train.seconds=0.05", "--set", "train.steps=40")
    process = shell.background(*slow, on=on)
    shell.running()
    os.killpg(process.pid, signal.SIGINT)
    out = process.communicate(timeout=600)[0]
    assert process.returncode == 130, out
    assert "stopped   the same command continues from here" in out
    assert "Traceback" not in out
    assert list(shell.store.trials.glob("*/ckpt/last.pt"))
    assert not list(shell.store.trials.glob("*/claim"))
    process = shell.background(*slow, on=on)
    out = process.communicate(timeout=600)[0]
    assert process.returncode == 0, out
    assert "done      4/4" in out
    assert [log for log in shell.store.trials.glob("*/attempts/1/log.txt") if "resumed before step" in log.read_text()]


@pytest.mark.parametrize("on", ["inline", "local"])
def test_ctrl_c_twice_kills(shell: Shell, on: str) -> None:
    """Also trials that do not listen."""
    process = shell.background("--set", "fault.kind=deaf", on=on)
    shell.running()
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(0.7)
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    out = process.communicate(timeout=600)[0]
    assert time.monotonic() - began < 15
    assert process.returncode == 130, out
    assert "stopping  trials save and stop; Ctrl-C once more kills them" in out  # they did not, so it was said
    assert "Traceback" not in out
    states = [shell.store.trial(file.parent.name).state().status for file in shell.store.trials.glob("*/state.json")]
    assert set(states) == {"stopped"}
    assert not list(shell.store.trials.glob("*/claim"))


# ---- status, logs, stop


def test_status(shell: Shell) -> None:
    shell.run("--seeds", "0")
    got = shell("status", "small")
    assert got.code == 0
    assert got.out.startswith("small  4 trials: done 2, missing 2   (not running)\n")
    assert "depth=2" in got.out
    shown = json.loads(shell("status", "small", "--json").out)
    assert shown["counts"] == {"done": 2, "planned": 2}
    assert shown["driver"] is None
    assert {trial["status"] for trial in shown["trials"] if trial["seed"] == 0} == {"done"}


def test_status_of_labels_and_of_nothing(shell: Shell) -> None:
    shell.run("--smoke")
    shell.run("--seeds", "0")
    both = shell("status", "small").out
    assert "small  4 trials" in both
    assert "small@smoke  " in both
    assert "small  4 trials" not in shell("status", "small@smoke").out
    got = shell("status", "smal")
    assert got.code == 2
    assert "smal has not been run" in got.err


@pytest.mark.parametrize("width", [80, 200])
def test_the_picture_fits_the_terminal(shell: Shell, width: int) -> None:
    """Trials that run, have failed, and wait; no line is broken."""
    import io

    from rich.console import Console

    from studies.engine.cli.commands.status import picture
    from studies.engine.core.stop import StopRequest
    from studies.engine.core.trial import State
    from studies.engine.execution.progress import Progress
    from studies.engine.results.study_status import StudyStatus
    from studies.engine.storage.plan_file import read_plan

    shell.run()
    names = [path.name for path in shell.store.trials.iterdir()]
    latest = {"val.top1": 61.25, "val.loss": 1.234567, "train.loss": 1.2}
    for name, status in zip(names, ("running", "running", "failed", "planned"), strict=True):
        folder = shell.store.trial(name)
        folder.result_file.unlink()
        if status == "running":
            folder.acquire_lease()
        reason = "ValueError: " + "what went wrong is a long story " * 6 if status == "failed" else ""
        folder.set_state(State(status, 1, 41, 100, latest=latest, reason=reason, device="cuda:0"))  # type: ignore[arg-type]
    status = StudyStatus(shell.store, read_plan(shell.store.study("small")))
    console = Console(file=io.StringIO(), width=width, height=20, force_terminal=True, color_system=None)
    with console.capture() as got:
        console.print(picture(status, whole=True))
        progress = Progress(status.watch, status.labels, StopRequest(), console)
        console.print(progress._display(status.watch.poll()))
    lines = got.get().splitlines()
    assert max(map(len, lines)) <= width
    assert sum("41/100" in line and "top1 61.25" in line for line in lines) == 4
    assert any(line.startswith("running   2/4   done 0   failed 1") for line in lines)


def test_logs(shell: Shell) -> None:
    shell.write("kind")
    shell.run()
    names = sorted(path.name for path in shell.store.trials.iterdir())
    got = shell("logs", names[0])
    assert got.code == 0
    assert got.out == (shell.store.trial(names[0]).attempt_folder(0) / "log.txt").read_text()
    assert shell("logs", names[0], "--follow").out == got.out
    assert "raised as configured" in shell("logs", "small").out
    assert shell("logs", "").err == f" matches 4 trials: {', '.join(names)}\n"
    assert shell("logs", "zzz").code == 2
    missing = shell("logs", names[0], "--attempt", "7")
    assert (missing.code, missing.err) == (2, f"{names[0]} has attempts 0 to 0, not 7\n")


def test_logs_follow_until_the_end(shell: Shell) -> None:
    process = shell.background("--set", "train.seconds=0.2", "--set", "train.steps=10", "--seeds", "0", on="inline")
    shell.running()
    running = next(shell.store.trials.glob("*/claim")).parent.name
    got = shell("logs", running, "--follow")
    assert got.out.count("done after") == 1
    process.communicate(timeout=600)


def test_stop_from_another_shell(shell: Shell) -> None:
    process = shell.background("--set", "train.seconds=0.05", "--set", "train.steps=2000", on="local")
    shell.running(2)
    name = next(shell.results.glob("small*")).name
    shown = json.loads(shell("status", name, "--json").out)
    assert shown["driver"]["pid"] == process.pid
    out: list[str] = []
    reader = threading.Thread(target=lambda: out.append(process.communicate(timeout=600)[0]))
    reader.start()
    got = shell("stop", "small")
    assert got.code == 0, got
    assert "asked 2 running trials to save and stop" in got.out
    reader.join()
    assert process.returncode == 130, out
    counts = json.loads(shell("status", name, "--json").out)["counts"]
    assert counts == {"stopped": 2, "planned": 2}
    assert "nothing of small is running" in shell("stop", "small").out


# ---- what is said


def test_the_number_of_a_finished_trial_is_that_of_the_table(shell: Shell) -> None:
    """The best score, as the study's metrics say, not the last one that was logged."""
    shell.study.write_text(shell.study.read_text().replace("{steps: 4}", "{steps: 4, noise: 500.0}"))
    got = shell.run()
    results = {folder.name: json.loads((folder / "result.json").read_text())["metrics"] for folder in _trials(shell)}
    assert any(found["best"]["score"] != found["last"]["score"] for found in results.values())
    lines = [line.split() for line in got.out.splitlines() if line.startswith("done      ") and " score " in line]
    shown = {words[1]: words[words.index("score") + 1] for words in lines}
    assert len(shown) == 4 and shown == {trial: f"{found['best']['score']:.4g}" for trial, found in results.items()}


def _trials(shell: Shell) -> list[Path]:
    return [folder for folder in shell.store.trials.iterdir() if (folder / "result.json").exists()]


def fails_to_start(*arguments: object) -> None:
    with session.one_line("Ray cannot start on this machine"):
        raise RuntimeError("Failed to start the head node.\n\nTraceback of many lines")


def test_where_ray_was_only_the_default_the_trials_run_without_it(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studies.engine.launchers.ray.launcher.start_private", fails_to_start)
    got = shell("run", str(shell.study))
    assert got.code == 0 and "done      4/4 trials, 0 failed" in got.out
    said = "Ray cannot start on this machine: Failed to start the head node.; trials run one after another"
    assert said in got.out
    asked = shell("run", str(shell.study), "--on", "ray", "--rerun", "all")
    assert asked.code == 2 and asked.err.count("\n") == 1
    assert "Ray cannot start on this machine: Failed to start the head node." in asked.err
