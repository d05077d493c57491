"""The time that is left, of trials that take as long as one another and of trials that do not."""

from __future__ import annotations

import pytest

from studies.engine.core.trial import State
from studies.engine.execution.remaining_time import remaining_seconds

NOW = 1000.0


def done(seconds: float) -> State:
    return State("done", started=100.0, ended=100.0 + seconds)


def running(since: float, step: int = 0, steps: int = 10) -> State:
    return State("running", 1, step, steps, started=NOW - since)


def left(states: list[State], parts: str = "", forecast: dict[int, float] | None = None) -> float | None:
    names = [str(i) for i in range(len(states))]
    seconds = {str(i): value for i, value in (forecast or {}).items()}
    parts = parts or "a" * len(states)
    return remaining_seconds(dict(zip(names, states, strict=True)), dict(zip(names, parts, strict=True)), seconds, NOW)


def test_short_evaluations_behind_long_trainings() -> None:
    """Two trainings half way through, six evaluations that no step has told of yet."""
    states = [running(300, 5), running(300, 5), *[State()] * 6]
    assert left(states, "aabbbbbb", dict.fromkeys(range(2, 8), 4.0)) == pytest.approx((2 * 300 + 6 * 4) / 2)
    states[2] = done(6)  # longer than was forecast
    assert left(states, "aabbbbbb", dict.fromkeys(range(2, 8), 4.0)) == pytest.approx((2 * 300 + 5 * 6) / 2)


def test_the_longest_bounds_it() -> None:
    assert left([running(10, 1), running(10, 9)]) == pytest.approx(90)
    assert left([running(100, 1), done(10)], "ab") == pytest.approx(900)


def test_without_a_forecast_trials_are_alike() -> None:
    assert left([done(10), done(20), running(0), State()]) == pytest.approx(30)
    assert left([done(10), State("failed"), State()]) == pytest.approx(10)


def test_nothing_is_said_too_early_or_where_nothing_is_left() -> None:
    assert left([running(5, 1), State()]) is None  # a tenth of a trial
    assert left([running(5), State()]) is None
    assert left([done(3), State("lost"), State("failed")]) is None
    assert left([]) is None


def test_a_running_trial_that_has_not_said_when_it_began_tells_nothing() -> None:
    assert left([State("running", 1, 5, 10), State()], forecast={0: 8.0, 1: 8.0}) == pytest.approx(12)
