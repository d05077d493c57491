"""Quantities and lists as short text, for the terminal and for messages."""

from __future__ import annotations

from collections.abc import Sequence, Sized


def count(number: int, noun: str) -> str:
    """Return ``1 trial`` or ``3 trials``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def duration(seconds: float) -> str:
    """Return at most two units: ``4 h 48 min``, ``12 min``, ``1 min 5 s``, ``9.1 s``."""
    if seconds < 60:
        return f"{max(seconds, 0):.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 10:
        return f"{minutes} min" + (f" {rest} s" if rest else "")
    hours, minutes = divmod(round(seconds / 60), 60)
    if not hours:
        return f"{minutes} min"
    return f"{hours} h" + (f" {minutes} min" if minutes else "")


def size(number: float) -> str:
    """Return a number of bytes in decimal units: ``12 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def first_few(names: Sequence[str], limit: int = 3) -> str:
    """Return ``a, b, c and 2 more``."""
    return f"{', '.join(names[:limit])} {and_more(names, limit)}".rstrip()


def and_more(items: Sized, limit: int) -> str:
    """Return ``and 2 more``, or an empty text where the limit leaves nothing out."""
    return f"and {len(items) - limit} more" if len(items) > limit else ""
