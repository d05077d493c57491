"""The peak of a trial is its own, also in a process that has run others."""

import torch

from dynvit.profiling.peak_memory import peak_mb, reset_peak


def resident_mb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) / 2**8


def test_what_a_former_trial_freed_is_not_in_the_peak():
    reset_peak("cpu")
    before = resident_mb()
    tensors = [torch.ones(25_000) for _ in range(4000)]  # 100 kB each: below the size that is mapped alone
    kept = tensors[::50]
    tensors.clear()
    held = resident_mb() - before
    assert len(kept) == 80 and peak_mb("cpu") - before > 300
    assert held > 200, "what is freed between tensors that live on stays with the process"
    reset_peak("cpu")
    assert resident_mb() - before < held / 4
    assert peak_mb("cpu") - before < held / 4
