"""Compare a published number with a measured one: rounding to the printed digits, then known conventions."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from typing import Literal, NamedTuple

Outcome = Literal["equal", "explained", "unexplained"]


class Verdict(NamedTuple):
    """equal: after rounding to the printed digits. explained: not equal, for the reason `why`. unexplained: neither."""

    outcome: Outcome
    why: str = ""


class Convention(NamedTuple):
    """The measured number under another convention of counting."""

    value: float
    why: str


def judge_rounding(printed: str, measured: float, conventions: Iterable[Convention] = (), reason: str = "") -> Verdict:
    """Return the verdict on `printed`, the number as in the paper; `reason` is a known reason of a difference.

    A convention explains a difference only if it gives every printed digit.
    """
    if rounds_to(measured, printed):
        return Verdict("equal")
    if reason:
        return Verdict("explained", reason)
    for other in conventions:
        if rounds_to(other.value, printed):
            return Verdict("explained", other.why)
    if truncates_to(measured, printed):
        return Verdict("explained", "cut off instead of rounded")
    return Verdict("unexplained")


def rounds_to(value: float, printed: str) -> bool:
    """Return whether `value` rounds to `printed`; a half may be rounded either way."""
    return Decimal(printed) in {_at(value, printed, how) for how in (ROUND_HALF_UP, ROUND_HALF_EVEN)}


def truncates_to(value: float, printed: str) -> bool:
    return Decimal(printed) == _at(value, printed, ROUND_DOWN)


def decimals(printed: str) -> int:
    """Return the number of decimals."""
    return len(printed.partition(".")[2])


def _at(value: float, printed: str, how: str) -> Decimal:
    exact = Decimal(repr(round(value, 9)))  # what is left of 22.05 in binary must not decide
    return exact.quantize(Decimal(1).scaleb(-decimals(printed)), rounding=how)
