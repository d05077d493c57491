"""Several trials in one SLURM job: the GPUs that it asks for, and which trial sees which."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from studies.engine.core.trial import Resources
from studies.engine.launchers.slurm import sbatch
from studies.engine.launchers.slurm.job import devices_of
from studies.engine.launchers.slurm.options import Options


@pytest.mark.parametrize(
    ("gpus", "pack", "asked"),
    [(0.5, 2, 1), (0.5, 3, 2), (0.25, 8, 2), (0.3, 4, 2), (0.4, 5, 3), (0.6, 3, 3), (0.1, 10, 1), (1, 3, 3), (2, 2, 4)],
)
def test_no_gpu_has_more_trials_than_fit_and_none_is_idle(gpus: float, pack: int, asked: int) -> None:
    """Four trials of 0.3 shared the first of two GPUs, and the second one was paid for and idle."""
    resources = Resources(gpus=gpus, processes=1)
    parameters = sbatch.array_request(resources, Options(pack=pack), "name", Path("/code")).parameters
    assert parameters["gpus_per_node"] == asked
    devices = [str(number) for number in range(asked)]
    shares = [devices_of(index, resources, devices) for index in range(pack)]
    assert {len(share) for share in shares} == {max(1, int(gpus))}
    load = Counter(device for share in shares for device in share)
    assert load.keys() == set(devices)
    assert all(count * min(gpus, 1) <= 1 + 1e-6 for count in load.values())
