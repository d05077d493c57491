"""The launcher `local`: what it has room for, and what it keeps of workers that have ended."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest
import toy

from studies.engine.core import processes
from studies.engine.core.trial import Resources
from studies.engine.jobs.launcher import Job, LaunchContext, LaunchError, create_launcher
from studies.engine.storage.results_dir import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_more_memory_than_there_is(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studies.engine.launchers.local.memory_gb", lambda: 7.5)
    monkeypatch.setattr("studies.engine.launchers.local.available_cores", lambda: 8)
    local = create_launcher("local", LaunchContext(store.root, store.study("toy"), {}))
    asked = [Resources(), Resources(memory_gb=0.5), Resources(memory_gb=2), Resources(memory_gb=7.5)]
    assert [local.capacity(each) for each in asked] == [8, 8, 3, 1]
    assert local.capacity(Resources(memory_gb=4, processes=4)) == 1  # of each node
    with pytest.raises(LaunchError, match=r"a trial asks for 8 GB of memory, this machine has 7\.5 GB"):
        local.capacity(Resources(memory_gb=8))
    assert 0.1 < processes.memory_gb() < 1e5


def test_workers_that_have_ended_hold_no_file_open(store: Store) -> None:
    """Those of trials that crash, or have several processes: with a thousand of them no file could be opened."""
    local = create_launcher("local", LaunchContext(store.root, store.study("toy"), {}))
    before = psutil.Process().num_fds()
    for i in range(6):
        (folder,) = toy.place(store, toy.trial(f"t{i}", fault="exit"))
        (handle,) = local.submit([Job((folder.path,), Resources())])
        while local.poll([handle])[handle] != "gone":
            time.sleep(0.02)
    del handle
    assert psutil.Process().num_fds() <= before
    local.close()
