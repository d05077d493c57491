"""`logs`, `status` and `stop`: an option that has no meaning for what is asked, and what cannot be done, is refused."""

from __future__ import annotations

import errno
import os

import made_study as made
import pytest
from click.testing import CliRunner

from studies.engine.cli.main import cli
from studies.engine.cli.options import UsageError
from studies.engine.storage.lease import Lease
from studies.engine.storage.results_dir import Store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store, plan = Store(tmp_path_factory.mktemp("ignored") / "results"), made.make_plan()
    made.run_all(store, plan)
    for folder in store.trials.iterdir():
        (folder / "attempts/0/log.txt").write_text("a line\n")
    return store


def refused(store: Store, *words: str) -> str:
    done = CliRunner().invoke(cli, [*words, "--results", str(store.root)], standalone_mode=False)
    assert isinstance(done.exception, UsageError), done.output
    return done.exception.message


def test_one_trial_or_a_study(store: Store) -> None:
    assert refused(store, "logs", "toy", "--follow") == "--follow is for one trial, and toy is a study"
    assert refused(store, "logs", "toy", "--attempt", "0") == "--attempt is for one trial, and toy is a study"


@pytest.mark.parametrize("more", [(), ("--follow",), ("--json",)])
@pytest.mark.parametrize("attempt", ["7", "-1"])
def test_an_attempt_that_there_is_not(store: Store, more: tuple[str, ...], attempt: str) -> None:
    trial = min(path.name for path in store.trials.iterdir())
    assert refused(store, "logs", trial, "--attempt", attempt, *more) == f"{trial} has attempts 0 to 0, not {attempt}"


def test_a_display_that_goes_on_or_json(store: Store) -> None:
    assert refused(store, "status", "toy", "--watch", "--json") == "--watch and --json: choose one"


def test_trials_of_a_folder_that_cannot_be_written_cannot_be_asked(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A colleague's results, or a drive that is read-only now: not a traceback."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    token = Lease(store.study("toy") / "driver").acquire()
    assert token
    monkeypatch.setattr(os, "replace", refuse)
    said = refused(store, "stop", "toy")
    monkeypatch.undo()
    Lease(store.study("toy") / "driver").release(token)
    where = f"results folder {store.root} cannot be written, by which trials are asked"
    assert said == f"{where}: Read-only file system"
