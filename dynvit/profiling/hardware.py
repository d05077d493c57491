"""Where and with what something was measured, in words."""

from __future__ import annotations

import platform
import re
from pathlib import Path
from typing import Any

import timm
import torch


def device_name(device: str) -> str:
    """Such as ``NVIDIA H200`` or the processor's own name."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def place(device: str) -> dict[str, Any]:
    """Device and software."""
    told = {"device": device_name(device), "torch": torch.__version__, "timm": timm.__version__}
    told |= {"python": platform.python_version(), "threads": torch.get_num_threads()}
    if device.startswith("cuda"):
        told |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    return told
