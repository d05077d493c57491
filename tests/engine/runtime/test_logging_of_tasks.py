"""A task that uses Python's `logging` finds its lines in the trial's log, on every launcher."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import toy

from studies.engine.storage.results_dir import Store

TASK = """
import logging
from dataclasses import dataclass, field

REVISION, SMOKE = 1, {}
log = logging.getLogger("of_the_task")

@dataclass(frozen=True)
class Config:
    train: dict = field(default_factory=dict)
    keep_checkpoint: bool = False

def run(config, context):
    logging.basicConfig(format="%(name)s says %(message)s")
    log.warning("hello of %s", context.seed)
    return {"metrics": {"score": 1.0}}
"""


@contextmanager
def no_handlers() -> Iterator[None]:
    """As in a process of a person's own: pytest adds its handlers when a test begins."""
    before, logging.root.handlers = logging.root.handlers, []
    try:
        yield
    finally:
        logging.root.handlers = before


def logs(tmp_path: Path, on: str) -> list[str]:
    (tmp_path / "task.py").write_text(TASK)
    store, names = Store(tmp_path / on), ("a", "b", "c")
    trials = [replace(toy.trial(name, seed=seed), task=str(tmp_path / "task.py")) for seed, name in enumerate(names)]
    toy.drive(store, trials, on)
    assert [store.trial(name).state().status for name in names] == ["done"] * 3
    return [(store.trial(name).attempt_folder(0) / "log.txt").read_text() for name in names]


@pytest.mark.parametrize("on", ["inline", "local"])
def test_each_trial_has_its_own_lines(tmp_path: Path, on: str) -> None:
    with no_handlers():
        texts = logs(tmp_path, on)
    for seed, text in enumerate(texts):
        assert [line for line in text.splitlines() if not line.startswith("[")] == [f"of_the_task says hello of {seed}"]


def test_a_handler_from_before_the_trials_prints_into_their_logs_and_then_as_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `logging.basicConfig` at the top of a task's file makes it, which is imported when its study is planned."""
    with no_handlers():
        logging.basicConfig(format="%(message)s")
        for seed, text in enumerate(logs(tmp_path, "inline")):
            assert f"\nhello of {seed}\n" in text
        (handler,) = logging.root.handlers
        assert isinstance(handler, logging.StreamHandler) and handler.stream is sys.stderr
        logging.getLogger("afterwards").warning("back")
    assert capsys.readouterr().err == "back\n"


def test_a_handler_of_a_trial_prints_afterwards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with no_handlers():
        logs(tmp_path, "inline")
        logging.getLogger("afterwards").warning("back")
    assert capsys.readouterr().err == "afterwards says back\n"
