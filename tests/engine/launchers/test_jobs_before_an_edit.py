"""A study is edited while its jobs wait in the queue: those of trials that it has no more are named, and stopped."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import simulated_slurm
from toy import TASK

from studies.engine.cli import main

STUDY = f"""
study: small
title: A small one
task: {TASK}
seeds: [0, 1]
base: {{train: {{steps: 4}}}}
axes: {{depth: {{key: depth, values: [1, 2], baseline: 1}}}}
design: [{{one_at_a_time: [depth]}}]
metrics: {{score: {{from: best, direction: max}}}}
"""


@pytest.fixture
def typed(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Types a command; returns what it printed."""
    for key, value in simulated_slurm.install(tmp_path / "simulated").items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr("studies.engine.tracking.mirror.Mirror.update", lambda self: True)
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(STUDY)

    def run(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["studies", *words])
        with pytest.raises(SystemExit):
            main.main()
        read = capsys.readouterr()
        return read.out + read.err

    return run


def test_they_are_named_and_stopped(typed: Callable[..., str], tmp_path: Path) -> None:
    submit = ("run", "small.yaml", "--on", "slurm", "--detach")
    assert "earlier version" not in typed(*submit)
    assert "earlier version" not in typed(*submit, "--seeds", "0")
    name = (tmp_path / "simulated/submitted").read_text().split()[1]
    Path("small.yaml").write_text(STUDY.replace("steps: 4", "steps: 5"))
    text = f"queue     4 trials of an earlier version of this study are in the queue too: scancel --name={name}\n"
    assert text in typed(*submit)
    assert "removed 8 waiting trials from the queue" in typed("stop", "small", "--wait", "0.1")
    cancelled = (tmp_path / "simulated/others").read_text()
    assert all(f"{array}_{task}" in cancelled for array in (101, 102) for task in range(4))


def test_those_of_an_arm_that_is_gone_are_named_one_by_one(typed: Callable[..., str]) -> None:
    submit = ("run", "small.yaml", "--on", "slurm", "--detach")
    typed(*submit)
    Path("small.yaml").write_text(STUDY.replace("values: [1, 2]", "values: [1, 3]"))
    assert "2 trials of an earlier version of this study are in the queue too: scancel 101_2 101_3\n" in typed(*submit)
