"""Whoever kills and suspends workers, drivers, nodes and the MLflow server of a `Play`, sets their clocks and fills
their disk."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from clocks import Clocks
from mlflowserver import Server
from raycluster import Play, Standing, until

from studies.engine.execution.study_lock import running_driver

LEASE_SECONDS = 1.0
"""How long a claim outlives a suspended process, with the heartbeat of `Play`."""


class Disk:
    """A file system of its own in a folder, where this user may mount one."""

    def __init__(self, folder: Path, mebibytes: int = 256) -> None:
        self.folder = folder
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "chaos", str(folder)]
        self.small = shutil.which("mount") is not None and subprocess.run(mount, capture_output=True).returncode == 0

    @contextlib.contextmanager
    def filled(self) -> Iterator[None]:
        filler = self.folder / "filler"
        with open(filler, "wb", buffering=0) as file:
            for size in (2**20, 2**12, 1):  # to the last byte
                with contextlib.suppress(OSError):
                    while file.write(b"0" * size):
                        pass
        try:
            yield
        finally:
            filler.unlink()

    def remove(self) -> None:
        if self.small:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=True)


class Chaos:
    """Each disturbance returns whether there was something to disturb."""

    def __init__(
        self, on: tuple[str, ...], chance: random.Random, clocks: Clocks, cluster: Standing | None, disk: Disk
    ) -> None:
        self.on, self.chance, self.clocks, self.cluster, self.disk = on, chance, clocks, cluster, disk
        self.kinds = ["driver", "frozen_driver", "second_driver", "clock"]  # inline, these are the workers too
        if "inline" not in on:
            self.kinds += ["worker", "frozen_worker"]
        if cluster is not None:
            self.kinds += ["node"]
        if disk.small:
            self.kinds += ["full_disk"]
        self.server: Server | None = None
        self.done: Counter[str] = Counter()
        self.frozen: set[str] = set()
        """Trials of suspended workers: two processes may be at work on one, of which one cannot write."""
        self._due: list[str] = []

    def rage(self, play: Play, count: int, trials: int) -> None:
        """Disturb until that was done so often, or all trials are done; every kind as often as the others."""
        while self.done.total() < count and play.done() < trials:
            kinds = [*self.kinds, *(["server"] if self.server else [])]
            self._due = self._due or self.chance.sample(kinds, len(kinds))
            if self._disturb(play, self._due[-1]):
                self.done[self._due.pop()] += 1

    def let_it_end(self, play: Play) -> int:
        """Return the exit code of an undisturbed run."""
        while self.cluster is not None and len(self.cluster.nodes) < 2:
            self.cluster.nodes.append(self.cluster.add())
        if self.server is not None:
            self.server.start_again()
        play.start(*self.on).wait(300)  # the one that may still be there ends, or this is the clean one
        code = play.start(*self.on).wait(300)
        until("the workers to end", lambda: not play.workers())
        return code

    def _disturb(self, play: Play, kind: str) -> bool:
        driver = play.start(*self.on)
        if kind != "driver" or self.chance.random() < 0.5:
            until("a worker", lambda: play.workers() or driver.poll() is not None)
        time.sleep(self.chance.uniform(0.0, 0.8))
        with contextlib.suppress(ProcessLookupError):
            return bool(driver.poll() is None and getattr(self, f"_{kind}")(play, driver))
        return False

    def _worker(self, play: Play, _: subprocess.Popen[bytes]) -> bool:
        return play.kill_worker(self.chance)

    def _driver(self, _: Play, driver: subprocess.Popen[bytes]) -> bool:
        driver.kill()
        driver.wait()
        return True

    def _second_driver(self, play: Play, driver: subprocess.Popen[bytes]) -> bool:
        """Beside one that works: it says so and ends, or takes over from one that has just ended."""
        said = play.place / "said"
        before = said.stat().st_size
        other = play.another(*self.on)
        until("one of two drivers", lambda: other.poll() is not None or driver.poll() is not None)
        if other.poll() is None or other.returncode == 0:  # the first one was about to end
            driver.wait(120)
            play.driver = other
            return False
        text = said.read_bytes()[before:].decode()
        assert other.returncode == 2 and "is being run by process" in text, (other.returncode, text)
        return True

    def _frozen_worker(self, play: Play, _: subprocess.Popen[bytes]) -> bool:
        workers = play.workers()
        if workers:
            with self._suspended(play, self.chance.choice(list(workers))):
                time.sleep(self.chance.uniform(0.2, 2.5) * LEASE_SECONDS)
        return bool(workers)

    def _frozen_driver(self, play: Play, driver: subprocess.Popen[bytes]) -> bool:
        """Another takes over the study, which the one that wakes up leaves alone."""
        held = running_driver(play.store.study("play"))
        if held is None or held["pid"] != driver.pid:
            return False
        with self._suspended(play, driver.pid):
            time.sleep(LEASE_SECONDS)
            other = play.another(*self.on)
            study = play.store.study("play")
            # Where nothing is left to run, it has come and gone between two looks.
            until("another driver", lambda: other.poll() == 0 or other.pid == (running_driver(study) or {}).get("pid"))
            time.sleep(self.chance.uniform(0.0, 2.5) * LEASE_SECONDS)
        driver.wait(120)
        play.driver = other
        return True

    @contextlib.contextmanager
    def _suspended(self, play: Play, pid: int) -> Iterator[None]:
        os.kill(pid, signal.SIGSTOP)
        try:
            self.frozen |= {trial for worker, trial in play.workers().items() if worker == pid}
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def _full_disk(self, play: Play, _: subprocess.Popen[bytes]) -> bool:
        """Nothing can be written, by workers, driver, MLflow and the task itself; then it can again."""
        with self.disk.filled():
            time.sleep(self.chance.uniform(0.0, 2.5) * LEASE_SECONDS)
        return True

    def _clock(self, play: Play, driver: subprocess.Popen[bytes]) -> bool:
        """Of one process, or of all, by hours."""
        pids = [driver.pid, *play.workers()]
        for pid in self.chance.choice([pids, [self.chance.choice(pids)]]):
            self.clocks.jump(pid, self.chance.choice((-1, 1)) * self.chance.randint(3600, 12 * 3600))
        return True

    def _node(self, play: Play, _: subprocess.Popen[bytes]) -> bool:
        """One of the two, which is missing until it is a node's turn again."""
        assert self.cluster is not None
        if len(self.cluster.nodes) < 2:
            self.cluster.nodes.append(self.cluster.add())
        elif play.workers():
            self.cluster.lose(self.chance.randrange(2))
            return True
        return False

    def _server(self, play: Play, _: subprocess.Popen[bytes]) -> bool:
        """MLflow's, suspended or killed; what it has missed it gets when it is back."""
        assert self.server is not None
        if self.chance.random() < 0.5:
            self.server.send(signal.SIGSTOP)
            time.sleep(self.chance.uniform(0.2, 2.5) * LEASE_SECONDS)
            self.server.send(signal.SIGCONT)
        else:
            self.server.kill()
            time.sleep(self.chance.uniform(0.0, 2.5) * LEASE_SECONDS)
            self.server.start()  # it takes seconds, in which more happens
        return True
