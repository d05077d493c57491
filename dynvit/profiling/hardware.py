"""Hardware and software of a measurement."""

from __future__ import annotations

import platform
import re
from pathlib import Path
from typing import Any

import timm
import torch


def device_name(device: str) -> str:
    """Return the GPU's or the processor's name, such as ``NVIDIA H200``."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def hardware_info(device: str) -> dict[str, Any]:
    """Return device, versions and number of threads."""
    info = {"device": device_name(device), "torch": torch.__version__, "timm": timm.__version__}
    info |= {"python": platform.python_version(), "threads": torch.get_num_threads()}
    if device.startswith("cuda"):
        info |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    return info
