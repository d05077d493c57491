"""Numbers that the environment sets for every process of a run."""

from __future__ import annotations

import math
import os


def number(variable: str, default: float, least: float = 0.0) -> float:
    """Return a variable's number. Ends the process with one line where it is none, or below `least`."""
    text = os.environ.get(variable) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value < math.inf:
        os.write(2, f"{variable}={text}: a number from {least:g} on is needed\n".encode())
        raise SystemExit(2)
    return value
