"""Two processes that train together, started once and given one training after another; for tests."""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from small_task import Folder, register

from dynvit import plugins
from dynvit.context import Stopped
from dynvit.tasks.classify import Config
from dynvit.train.loop import fit
from dynvit.train.session import training_session
from dynvit.train.state import Clock, build, build_state

WORLD = 2


class RankFolder(Folder):
    """Rank 0 keeps checkpoint and curve; both count the boundaries at which they stop."""

    def __init__(self, folder: Path, rank: int, other: Connection, stop_at: int | None) -> None:
        super().__init__(folder, stop_at=stop_at)
        self.rank, self.world, self.other = rank, WORLD, other

    def broadcast(self, value: Any) -> Any:
        if self.rank:
            return self.other.recv()
        self.other.send(value)
        return value

    def save(self, write: Any) -> None:
        if not self.rank:
            super().save(write)


def trained(config: Config, context: Folder) -> dict[str, Any]:
    """What a training leaves: its tensors, as numpy arrays, its curve, its best epoch, whether it was stopped."""
    with training_session(config.train, context) as group:
        model, data = build(config, context)
        state = build_state(model, data, config, context, group, Clock())
        try:
            fit(state, data, config, context, group)
            stopped = False
        except Stopped:
            stopped = True
        tensors = {
            f"{number}.{name}": tensor.detach().clone().numpy()
            for number, each in enumerate(state.models())
            for name, tensor in each.state_dict().items()
        }
    curve = [{k: v for k, v in metrics.items() if "per_second" not in k} for _, metrics in context.history]
    return {"tensors": tensors, "curve": curve, "best": state.progress.best, "stopped": stopped}


class Pair:
    """The two processes; new ones after a failure."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        between = spawn.Pipe()
        self._links, self._processes = [], []
        for rank in range(WORLD):
            ours, theirs = spawn.Pipe()
            self._processes.append(spawn.Process(target=_serve, args=(rank, theirs, between[rank]), daemon=True))
            self._processes[-1].start()
            self._links.append(ours)
            theirs.close()
            between[rank].close()  # so that the end of a process ends its connections

    def train(
        self, config: Config, folder: Path, stop_at: int | None = None, imports: Sequence[str] = ()
    ) -> list[dict[str, Any]]:
        """Return what each rank has. imports: own code."""
        folder.mkdir(exist_ok=True)
        for link in self._links:
            link.send((config, folder, stop_at, list(imports)))
        found = [link.recv() for link in self._links]
        if errors := [each for each in found if isinstance(each, str)]:
            self.close()
            self._start()
        assert not errors, "\n".join(errors)
        return found

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.join()


def _serve(rank: int, driver: Connection, other: Connection) -> None:
    torch.set_num_threads(1)
    register()
    while True:
        config, folder, stop_at, imports = driver.recv()
        try:
            plugins.load(imports)
            driver.send(trained(config, RankFolder(folder, rank, other, stop_at)))
        except BaseException:
            driver.send(traceback.format_exc())
            os._exit(1)  # the other one waits for this
