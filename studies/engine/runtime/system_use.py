"""What an attempt takes of its machine, sampled in a thread beside it into `system.jsonl` of its folder.

Standard library only; GPUs are asked through torch where the task has it at work.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time

from studies.engine.core.processes import Use, use_of_tree
from studies.engine.storage.fence import Fence, LeaseLost
from studies.engine.storage.samples import NAME, Sample, format_sample

INTERVAL_SECONDS = 10.0
"""Between two samples. The first one is taken when it has passed, so that a shorter attempt has none."""
JOIN_SECONDS = 2.0
"""To wait at the end for a sample that is being taken: the driver of a broken GPU may never answer."""


class SystemUse:
    """Use as a context manager around one attempt: samples this process, all that it has started, and its GPU."""

    def __init__(self, fence: Fence, device: str) -> None:
        self._fence, self._device = fence, device
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="system use", daemon=True)

    def __enter__(self) -> SystemUse:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(JOIN_SECONDS)

    def _run(self) -> None:
        file = self._fence.folder.attempt_folder(self._fence.attempt) / NAME
        before, then = None, 0.0
        while not self._end.wait(INTERVAL_SECONDS):
            use, now = use_of_tree(os.getpid()), time.monotonic()
            values = {**machine_values(before, use, now - then), **gpu_values(self._device)}
            before, then = use, now
            if values and not self._end.is_set():
                try:
                    self._fence.append(file, format_sample(Sample(time.time(), values)))
                except LeaseLost:
                    return  # the task meets it at its next call
                except OSError:
                    continue  # full disk, network drive offline: the task meets the error itself, or it passes


def machine_values(before: Use | None, use: Use | None, seconds: float) -> dict[str, float]:
    """Return megabytes of resident memory, and per cent of one core since the sample before, where there is one."""
    if use is None:
        return {}
    values = {"system_memory_usage_megabytes": round(use.memory / 1e6, 1)}
    if before is not None:
        values["cpu_utilization_percentage"] = round(100 * max(use.cpu - before.cpu, 0.0) / seconds, 1)
    return values


def gpu_values(device: str) -> dict[str, float]:
    """Return what is taken of a device ``cuda:1``, by all processes; without pynvml its memory only.

    Empty where torch has not begun to use GPUs: a thread beside the task must not make it begin.
    """
    index, values = int(device.partition(":")[2] or 0), dict[str, float]()
    if device.startswith("cuda") and (torch := sys.modules.get("torch")):
        with contextlib.suppress(Exception):  # still being imported, no answer, no pynvml: no sample ends a trial
            if torch.cuda.is_initialized():
                free, total = torch.cuda.mem_get_info(index)
                values[f"gpu_{index}_memory_usage_megabytes"] = round((total - free) / 1e6, 1)
                values[f"gpu_{index}_memory_usage_percentage"] = round(100 * (1 - free / total), 1)
                values[f"gpu_{index}_utilization_percentage"] = float(torch.cuda.utilization(index))
    return values
