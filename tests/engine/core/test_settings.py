"""Numbers from the environment: a wrong one ends every process with one line."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("value", ["abc", "nan", "-1", "inf", "0", "1e999"])
def test_a_heartbeat_that_is_none(value: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "studies", "status"],
        env={**os.environ, "DYNVIT_HEARTBEAT": value}, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (2, f"DYNVIT_HEARTBEAT={value}: a number from 0.01 on is needed\n")


@pytest.mark.parametrize("name", ["CHECKPOINT_MINUTES", "OVERTIME_SECONDS", "RENDEZVOUS_SECONDS"])
def test_the_others_may_be_zero(name: str) -> None:
    worker = [sys.executable, "-m", "studies.engine.worker", "--help"]
    for value, code in (("0", 0), ("soon", 2)):
        done = subprocess.run(worker, env={**os.environ, f"DYNVIT_{name}": value}, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        assert ("DYNVIT_" in done.stderr) == bool(code)


def test_output_that_cannot_be_written_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "studies", "list"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr == "No space left on device: what is to be shown or kept cannot be written\n"
