"""`classify` on a real SLURM as one job of two nodes: the curve of one process, and a killed rank taken up again."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest
import toy
from curves import DEIT, EVIT, apart, curve, log, trial
from farm import Farm
from scenes import OFTEN, until

from studies.engine.core.stop import StopRequest
from studies.engine.execution.driver import Driver
from studies.engine.jobs.launcher import LaunchContext, create_launcher
from studies.engine.storage.results_dir import Store
from studies.engine.storage.state_watcher import StateWatcher

SLOW = {"model": DEIT, "train": {"drop_path": 0.3, "epochs": 4}}


@pytest.fixture(scope="module")
def ran(slurm_accounting: Farm, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, dict, list[str]]:
    """All trials in one drive; rank 1 of one of them is killed by its own task, once."""
    farm, said = slurm_accounting, []
    store = Store(tmp_path_factory.mktemp("nodes"))
    trials = [
        trial("one", {"model": EVIT}),
        trial("two", {"model": EVIT}, nodes=2),
        trial("calm", SLOW),
        trial("killed", {**SLOW, "kill_rank": 1}, nodes=2, retries=1),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", farm.conf)
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("DYNVIT_CHECKPOINT_MINUTES", "0")
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, (Path(__file__).parents[2], Path(toy.__file__).parent))))
        watch, stop = StateWatcher(toy.place(store, *trials)), StopRequest()
        made = create_launcher("slurm", LaunchContext(store.root, store.study("nodes"), dict(OFTEN), stop))
        watchdog = threading.Timer(240, os.kill, (os.getpid(), signal.SIGINT))
        watchdog.start()
        try:
            outcome = Driver(trials, watch, made, stop, said.append).run()
        finally:
            watchdog.cancel()
            made.close()
    return store, outcome.states, said


def test_two_nodes_have_the_curve_of_one_process(ran: tuple[Store, dict, list[str]]) -> None:
    store, states, said = ran
    assert (states["one"].status, states["two"].status) == ("done", "done"), said
    assert "batch of 32 torch.float64" in log(store, "one")
    assert "batch of 16 torch.float64" in log(store, "two")
    assert apart(curve(store, "one"), curve(store, "two")) < 1e-6


def test_a_killed_rank_ends_the_attempt_and_the_next_goes_on(ran: tuple[Store, dict, list[str]]) -> None:
    store, states, said = ran
    assert (states["killed"].status, states["killed"].attempt) == ("done", 2), said
    assert "resumed in epoch 1 after" in log(store, "killed", 1)
    assert [event.step for event in store.trial("killed").events()] == [1, 2, 3, 4]


def test_the_job_stood_on_two_nodes(ran: tuple[Store, dict, list[str]], slurm_accounting: Farm) -> None:
    printed = slurm_accounting.command("sacct", "-X", "-n", "-P", "--format=NNodes,NTasks,NodeList,State")
    until("two nodes in the accounting", lambda: any(line.startswith("2|") for line in printed.splitlines()))
