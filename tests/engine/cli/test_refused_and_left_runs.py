"""A run that a launcher refuses leaves results as they are; one that is interrupted, or whose terminal is closed, says
and does what a person expects."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from toy import TASK

from studies.engine.cli import main
from studies.engine.core.stop import StopRequest
from studies.engine.storage.results_dir import Store

STUDY = f"""
study: small
title: A small one
task: {TASK}
seeds: [0]
base: {{train: {{steps: 4}}}}
axes: {{depth: {{key: depth, values: [1, 2], baseline: 1}}}}
design: [{{one_at_a_time: [depth]}}]
metrics: {{score: {{from: best, direction: max}}}}
"""
WAITS = """
import sys, time
from studies.engine.core.stop import StopRequest
from studies.engine.execution.signals import handle_interrupts

stop = StopRequest()
with handle_interrupts(stop):
    print("ready", flush=True)
    sys.stdin.readline()
    print("stopped" if stop else "goes on", flush=True)
"""
Typed = tuple[int, str]


@pytest.fixture
def typed(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Typed]:
    """Types a command on the study `small`; returns its exit code and what it printed."""
    monkeypatch.setattr("studies.engine.cli.finish_run.render", lambda store, folder, say: None)
    monkeypatch.setattr("studies.engine.tracking.mirror.Mirror.update", lambda self: True)
    monkeypatch.setattr("studies.engine.tracking.mirror.Mirror.close", lambda self: True)
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(STUDY)

    def run(*words: str) -> Typed:
        monkeypatch.setattr(sys, "argv", ["studies", *words])
        with pytest.raises(SystemExit) as ended:
            main.main()
        read = capsys.readouterr()
        return int(ended.value.code or 0), read.out + read.err

    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for place in ("trials", "small") for file in (folder / place).rglob("*.json")}


@pytest.mark.parametrize(
    ("where", "said"),
    [
        (("slurm",), "no sbatch here"),
        (("local",), "a trial asks for 4096 cores, this machine has"),
        (("inline",), "a trial asks for 2 nodes, inline has this machine only"),
    ],
)
def test_a_launcher_that_cannot_run_the_trials_costs_no_result(
    typed: Callable[..., Typed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: tuple[str], said: str
) -> None:
    """`--rerun all` moves what is there to attempts/: not before it is known that anything can be run."""
    assert typed("run", "small.yaml", "--on", "inline")[0] == 0
    before = contents(tmp_path / "results")
    resources = {"local": "resources: {cpus: 4096}", "inline": "resources: {nodes: 2}"}.get(where[0], "")
    Path("small.yaml").write_text(f"{STUDY.replace('A small one', 'Another title')}{resources}\n")
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    code, out = typed("run", "small.yaml", "--rerun", "all", "--on", *where)
    assert (code, said in out) == (2, True), out
    assert contents(tmp_path / "results") == before
    states = [Store(tmp_path / "results").trial(path.name).state() for path in (tmp_path / "results/trials").iterdir()]
    assert [(state.status, state.attempt) for state in states] == [("done", 1)] * 2


@pytest.mark.parametrize("options", [(), ("--rerun", "all")])
def test_an_interrupted_run_says_what_continues_it(
    typed: Callable[..., Typed], monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    """`--rerun all` once more would begin what it has just run from nothing."""
    assert typed("run", "small.yaml", "--on", "inline", "--seeds", "0")[0] == 0
    Path("small.yaml").write_text(STUDY.replace("seeds: [0]", "seeds: [0, 1]"))
    real = StopRequest.__init__

    def interrupted(self: StopRequest) -> None:
        real(self)
        self.request()

    monkeypatch.setattr(StopRequest, "__init__", interrupted)
    code, out = typed("run", "small.yaml", "--on", "inline", *options)
    without = " without --rerun all" if options else ""
    assert (code, f"stopped   the same command{without} continues from here\n" in out) == (130, True), out


@pytest.mark.parametrize(("nohup", "then"), [(False, "stopped\n"), (True, "goes on\n")])
def test_a_run_under_nohup_outlives_its_terminal(nohup: bool, then: str) -> None:
    process = subprocess.Popen(
        [*(["nohup"] if nohup else []), sys.executable, "-c", WAITS],
        cwd=Path(__file__).parents[3],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )
    assert process.stdin is not None and process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.kill(process.pid, signal.SIGHUP)
    time.sleep(0.2)
    assert process.communicate("\n", timeout=60)[0] == then


def test_options_of_a_launcher_are_right_for_as_long_as_the_study_runs(
    typed: Callable[..., Typed], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last trial, and none, would run inline, which has no such option: the same command became an error."""
    monkeypatch.setattr("studies.engine.jobs.launcher.find_spec", lambda name: name)
    options = ("--launch", "num_cpus=2")
    planned = typed("plan", "small.yaml", *options)
    assert planned[0] == 0, planned
    assert typed("run", "small.yaml", "--on", "inline")[0] == 0
    code, out = typed("run", "small.yaml", *options)
    assert (code, "plan      nothing to run\n" in out) == (0, True), out
    assert typed("plan", "small.yaml", *options)[0] == 0
    Path("small.yaml").write_text(f"{STUDY}resources: {{launcher: {{slurm: {{partition: gpu}}}}}}\n")
    assert typed("run", "small.yaml", "--launch", "account=abc")[0] == 0
    assert typed("plan", "small.yaml", "--launch", "account=abc")[0] == 0


def test_a_negative_number_of_cores_is_no_option_of_ray(typed: Callable[..., Typed]) -> None:
    """Ray refused it, and the trials ran one after another in this process."""
    assert typed("run", "small.yaml", "--on", "ray", "--launch", "num_cpus=-2") == (
        2,
        "--launch  num_cpus: -2 is too little\n1 error\n",
    )
