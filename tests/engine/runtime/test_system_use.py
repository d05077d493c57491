"""What an attempt takes of its machine: measured, written to the attempt's folder, by its own worker only."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import toy

from studies.engine.core import processes
from studies.engine.core.stop import StopRequest
from studies.engine.runtime import system_use, worker
from studies.engine.runtime.system_use import SystemUse
from studies.engine.storage.fence import Fence
from studies.engine.storage.results_dir import Store
from studies.engine.storage.samples import NAME, Sample, files, format_sample, new_samples, parse_sample
from studies.engine.storage.trial_folder import TrialFolder

BUSY = "import time; block = bytearray(10**8); print(flush=True)\nwhile True: pass"


def ran(place: Path, **config: Any) -> TrialFolder:
    (folder,) = toy.place(Store(place), toy.trial("a", **config))
    assert worker.run_attempt(folder, StopRequest(), inline=True) == "done"
    return folder


def test_a_worker_samples_while_its_trial_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system_use, "INTERVAL_SECONDS", 0.02)
    began = time.time()
    folder = ran(tmp_path, steps=3, seconds=0.2)
    samples, offsets = new_samples(folder, {})
    assert len(samples) >= 2, "with nothing to compare with, the first has no CPU time"
    assert [set(sample.values) for sample in samples[:2]] == [
        {"system_memory_usage_megabytes"},
        {"system_memory_usage_megabytes", "cpu_utilization_percentage"},
    ]
    assert all(began <= sample.time <= time.time() for sample in samples)
    assert offsets == {"0": (folder.attempt_folder(0) / NAME).stat().st_size}
    assert new_samples(folder, offsets) == ([], offsets)
    assert "system use" not in [thread.name for thread in threading.enumerate()]


def test_an_attempt_that_is_shorter_than_the_interval_has_none(tmp_path: Path) -> None:
    (file,) = files(ran(tmp_path))
    assert file.parent.is_dir() and not file.exists()


def test_a_worker_that_has_lost_its_trial_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system_use, "INTERVAL_SECONDS", 0.01)
    (folder,) = toy.place(Store(tmp_path), toy.trial("a"))
    token = folder.acquire_lease()
    assert token and folder.begin_attempt(0)
    fence = Fence(folder, token, 0)
    folder.lease_file.unlink()
    assert folder.acquire_lease(), "another worker has it"
    with SystemUse(fence, "cpu") as sampler:
        sampler._thread.join(30)
    assert fence.lost
    assert not (folder.attempt_folder(0) / NAME).exists()


def by_psutil() -> tuple[float, float]:
    me = psutil.Process()
    tree = [me, *me.children(recursive=True)]
    return sum(sum(one.cpu_times()[:4]) for one in tree), sum(one.memory_info().rss for one in tree)


def test_processes_that_a_worker_has_started_count() -> None:
    alone = processes.use_of_tree(os.getpid())
    assert alone is not None
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline()
        found, (cpu, memory) = processes.use_of_tree(os.getpid()), by_psutil()
        child.kill()
    assert found is not None
    assert found.memory > alone.memory + 90e6
    assert memory == pytest.approx(found.memory, rel=0.1)
    assert found.cpu - 0.1 < cpu < found.cpu + 5
    ended = processes.use_of_tree(os.getpid())
    assert ended is not None and ended.cpu >= found.cpu, "the time of a process that has ended is not lost"


def test_a_machine_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes.os.path, "exists", lambda path: False)
    assert processes.use_of_tree(os.getpid()) is None
    assert system_use.machine_values(None, None, 1.0) == {}


def test_a_gpu_is_asked_only_where_the_task_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(index: int) -> int:
        raise ModuleNotFoundError("pynvml")

    asked: list[int] = []
    cuda = SimpleNamespace(
        is_initialized=lambda: True,
        mem_get_info=lambda index: asked.append(index) or (30_000_000, 40_000_000),
        utilization=lambda index: 75,
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    memory = {"gpu_1_memory_usage_megabytes": 10.0, "gpu_1_memory_usage_percentage": 25.0}
    assert system_use.gpu_values("cuda:1") == {**memory, "gpu_1_utilization_percentage": 75.0}
    cuda.utilization = fails
    assert system_use.gpu_values("cuda:1") == memory
    asked.clear()
    assert system_use.gpu_values("cpu") == {}
    cuda.is_initialized = lambda: False
    assert system_use.gpu_values("cuda:1") == {} == system_use.gpu_values("cuda") and not asked
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace())  # in the middle of its import
    assert system_use.gpu_values("cuda:1") == {}


def test_what_is_no_sample_is_left_out(tmp_path: Path) -> None:
    whole = format_sample(Sample(1.5, {"cpu_utilization_percentage": 12.5}))
    assert parse_sample(whole) == Sample(1.5, {"cpu_utilization_percentage": 12.5})
    damaged = (
        whole[:-1], whole[:9] + b"\n", b"\n", b"\0" * 50 + b"\n", b"[]\n", b"3\n", b"{}\n", b'{"t": 1}\n',
        b'{"t": 1, "m": [1]}\n', b'{"t": "x", "m": {}}\n', b'{"t": -1, "m": {}}\n', b'{"t": 1, "m": {"a": "x"}}\n',
        b'{"t": 1, "m": {"a": true}}\n', b'{"t": 1, "m": {"a": NaN}}\n', b'{"t": 1, "m": {"a b/..": 1}}\n',
        b'{"t": 1, "m": {"\\ud800": 1}}\n', b'{"t": 1, "m": {"a": 1' + b"0" * 400 + b"}}\n",
        b'{"a": ' * 20_000 + b"1" + b"}" * 20_000 + b"\n",
    )  # fmt: skip
    assert [line for line in damaged if parse_sample(line) is not None] == []
    folder = TrialFolder(tmp_path)
    folder.attempt_folder(0).mkdir(parents=True)
    file = folder.attempt_folder(0) / NAME
    for line in damaged[1:]:
        file.write_bytes(line + whole + whole[:-1])
        samples, offsets = new_samples(folder, {})
        assert samples == [parse_sample(whole)]
        assert offsets == {"0": len(line + whole)}, "the rest of the last line may still come"
        file.write_bytes(line + whole + whole)
        assert len(new_samples(folder, offsets)[0]) == 1
