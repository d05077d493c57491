"""Peak memory of a trial: of torch's allocator on a GPU, the largest resident set on the CPU."""

from __future__ import annotations

import ctypes
import re
import resource
import sys
from contextlib import suppress
from pathlib import Path

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def reset_peak(device: str) -> None:
    """Reset the peak, so that trials in one process do not inherit each other's."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.init()  # before the first use of the device torch knows no statistics to reset, and raises
        torch.cuda.reset_peak_memory_stats(device)
    else:
        _give_back_freed()
        with suppress(OSError):
            RESET.write_text("5")


def _give_back_freed() -> None:
    """Return to the system what was freed and is kept for later: of tensors of many sizes, as those of token routing,
    the allocator of glibc kept 2 GB from trial to trial."""
    with suppress(OSError, AttributeError):  # another libc
        ctypes.CDLL(None).malloc_trim(0)


def peak_mb(device: str) -> float:
    """Return MB (2**20 bytes) since `reset_peak`.

    On the CPU this includes the interpreter and its libraries; if the kernel cannot reset the peak it is the one since
    the start of the process.
    """
    if device.startswith("cuda"):
        import torch

        return float(torch.cuda.max_memory_allocated(device)) / 2**20
    with suppress(OSError):
        found = re.search(r"VmHWM:\s*(\d+) kB", STATUS.read_text())
        if found:
            return int(found[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
