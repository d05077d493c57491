"""How many seeds, and how much computing, would decide what is undecided."""

from __future__ import annotations

from collections.abc import Iterator

from paper_tables.claims.verdicts import ConditionResult
from paper_tables.core.sequential import MOST_SEEDS
from paper_tables.core.text import two_digits
from paper_tables.data.other_studies import SelectedArm


def would_decide(tested: ConditionResult, decided: bool = True) -> Iterator[str]:
    """Yield what an undecided condition needs at this estimate and spread. decided: whether its verdict then is one."""
    if tested.needed is None:
        return
    if tested.needed > MOST_SEEDS:
        yield "no number of seeds would decide at this estimate"
        return
    decide = tested.of.frame.metadata.decide if tested.of else None
    looks = decide.looks if decide else ()
    seeds = next((n for n in looks if n >= max(tested.needed, tested.n + 1)), tested.needed)
    minutes = sum(_seconds(side, seeds) for side in tested.sides) / 60
    late = f"not by the last look, {looks[-1]}: " if looks and seeds not in looks else ""
    what = f"the look at {seeds} seeds" if seeds in looks else f"{late}about {seeds} seeds"
    end = "would decide" if decided else "would leave it not testable"
    yield f"{what} {end} at this estimate and spread" + (f" ({_time(minutes)} more)" if minutes > 1 else "")


def _seconds(side: SelectedArm, seeds: int) -> float:
    """Return what the trials take that an arm lacks of so many seeds, each as long as those before."""
    took = list(side.frame.values(side.arm, "seconds").values())
    return max(0, seeds - len(side.frame.ended(side.arm))) * sum(took) / len(took) if took else 0.0


def _time(minutes: float) -> str:
    number, unit = (two_digits(minutes / 60), "hour") if minutes >= 60 else (two_digits(minutes), "minute")
    return f"{number} {unit}{'' if number == '1' else 's'}"
