"""Deciding with few seeds: false verdicts, power and coverage by simulation, value by value and with other seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats

from paper_tables.core import sequential

INF = math.inf
LOOKS = [(3, 5, 8, 12, 20), (3, 5, 10), (5, 10, 20), (3, 4, 5, 6), (4,)]
EXPERIMENTS = 20_000


def values(experiments: int, n: int, seed: int, mean: float = 0.0) -> Any:
    return np.random.default_rng(seed).standard_normal((experiments, n)) + mean


def verdicts(x: Any, looks: Sequence[int], level: float, region: tuple[float, float]) -> tuple[Any, Any]:
    """Whether each experiment (row) is first found inside the region, and outside, looking until it is decided."""
    inside = outside = np.zeros(len(x), bool)
    for n in looks:
        mean, sd = x[:, :n].mean(axis=1), x[:, :n].std(axis=1, ddof=1)
        half = stats.t.ppf(1 - level / 2, n - 1) * sd / math.sqrt(n)
        open_still = ~(inside | outside)
        inside = inside | open_still & (mean - half >= region[0]) & (mean + half <= region[1])
        outside = outside | open_still & ((mean + half < region[0]) | (mean - half > region[1]))
    return inside, outside


def at_most(share: float, limit: float, experiments: int = EXPERIMENTS) -> bool:
    """Within three standard errors of the simulation."""
    return share <= limit + 3 * math.sqrt(limit * (1 - limit) / experiments)


@pytest.mark.parametrize(
    ("looks", "level"), [((3, 5, 8, 12, 20), 0.0128), ((3, 5, 10), 0.0192), ((5, 10, 20), 0.01955), ((7,), 0.05)]
)
def test_reference_levels(looks: tuple[int, ...], level: float) -> None:
    """By brute force, five million experiments value by value."""
    assert sequential.nominal_error(looks) == pytest.approx(level, rel=0.01)


@pytest.mark.parametrize("looks", LOOKS, ids=str)
@pytest.mark.parametrize("error", [0.05, 0.02])
def test_looking_again_is_wrong_as_often_as_said(looks: tuple[int, ...], error: float) -> None:
    inside, outside = verdicts(
        values(EXPERIMENTS, looks[-1], 1), looks, sequential.nominal_error(looks, error), (0, INF)
    )
    wrong = (inside | outside).mean()  # the bound itself is the true value: each verdict is a false rejection of it
    assert wrong == pytest.approx(error, abs=4 * math.sqrt(error / EXPERIMENTS))


def test_looking_again_at_95_per_cent_is_wrong() -> None:
    """What the level guards against; fails if it were no more than the plain interval's."""
    inside, outside = verdicts(values(EXPERIMENTS, 20, 2), (3, 5, 8, 12, 20), 0.05, (0, INF))
    assert 0.16 < (inside | outside).mean() < 0.18


@pytest.mark.parametrize("looks", LOOKS, ids=str)
def test_false_verdicts(looks: tuple[int, ...]) -> None:
    """One-sided regions, wide and narrow ones, with the truth where it is hardest."""
    x, level = values(EXPERIMENTS, looks[-1], 3), sequential.nominal_error(looks)
    for region, truth, limit in [
        ((0, INF), 0.0, 0.025),  # at a bound only one of the verdicts is false: half of the error
        ((-INF, 0), 0.0, 0.025),
        ((-2, 2), -2.0, 0.025),
        ((-0.6, 0.6), 0.6, 0.025),
        ((-0.1, 0.1), 0.0, 0.05),
    ]:
        assert at_most(verdicts(x + truth, looks, level, region)[1].mean(), limit)
    for region, truth in [((0, INF), -0.001), ((-INF, 0), 0.001), ((-2, 2), -2.001), ((-0.6, 0.6), 0.601)]:
        assert at_most(verdicts(x + truth, looks, level, region)[0].mean(), 0.025)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.95])
@pytest.mark.parametrize("k", [2, 4])
def test_any_of_several_conditions(k: int, correlation: float) -> None:
    looks, experiments = (3, 5, 8, 12, 20), 10_000
    shared, own = values(experiments, 20, 4), [values(experiments, 20, 5 + i) for i in range(k)]
    mixed = [math.sqrt(correlation) * shared + math.sqrt(1 - correlation) * x for x in own]
    level = sequential.nominal_error(looks, 0.05 / k)
    held = np.any([verdicts(x, looks, level, (0, INF))[0] for x in mixed], axis=0)
    assert at_most(held.mean(), 0.025, experiments)


@pytest.mark.parametrize("looks", LOOKS, ids=str)
def test_power_as_planned(looks: tuple[int, ...]) -> None:
    level = sequential.nominal_error(looks)
    for last, distance in enumerate(sequential.detectable(looks, level)):
        inside, _ = verdicts(values(10_000, looks[-1], 20, distance), looks[: last + 1], level, (0, INF))
        assert inside.mean() == pytest.approx(0.8, abs=0.02)


def test_confidence_sequence_by_hand() -> None:
    x = [1.0, 2.0, 4.0, 3.0]
    omega = (0.05**2 * 0.1 / 4.1) ** 0.25
    expected = math.sqrt(1.25) * math.sqrt(4.1 * (1 - omega) / (4.1 * omega - 0.1))
    assert sequential.confidence_sequence(x, 0.05) == pytest.approx(expected)
    assert sequential.confidence_sequence(x[:1], 0.05) == INF
    assert sequential.confidence_sequence(x[:2], 1e-4) == INF


@pytest.mark.parametrize("error", [0.05, 0.2])
def test_confidence_sequence_holds_at_every_n(error: float) -> None:
    experiments, n = 2_000, 100
    x = values(experiments, n, 30, mean=3.0)
    counts = np.arange(1, n + 1)
    means = x.cumsum(axis=1) / counts
    unit = np.array([sequential.confidence_sequence([-1.0, 1.0] * m, error) for m in range(1, n // 2 + 1)])  # SD 1
    sds = np.sqrt(np.maximum((x**2).cumsum(axis=1) / counts - means**2, 0))
    even = slice(1, None, 2)
    wrong = np.abs(means - 3.0)[:, even] > unit * sds[:, even]
    assert at_most(wrong.any(axis=1).mean(), error, experiments)
    t = stats.t.ppf(1 - error / 2, counts[even] - 1) / np.sqrt(counts[even] - 1)
    naive = np.abs(means - 3.0)[:, even] > t * sds[:, even]
    assert naive.any(axis=1).mean() > 1.5 * error  # looking at every n with a t interval does not hold
    assert unit[-1] < 0.5


def test_needed_n() -> None:
    level = 0.0128
    for distance in (0.2, 0.7, 3.0, 50.0):
        n = sequential.needed_n(distance, 1.0, level)
        assert sequential.half_width(n, 1.0, level) <= distance
        assert n == 3 or sequential.half_width(n - 1, 1.0, level) > distance
    assert sequential.needed_n(0.0, 1.0, level) == sequential.MOST_SEEDS + 1


def test_futility_gives_up_what_cannot_be_decided_and_little_else() -> None:
    """Stopping below a chance of 10 %: power at the planned difference hardly falls, seeds are saved at the bound."""
    looks, region = (3, 5, 8, 12, 20), (0.0, INF)
    level = sequential.nominal_error(looks)
    planned = sequential.detectable(looks, level)[-1]
    lost, stopped = 0, 0
    for x in values(150, 20, 40, planned):
        decided, _ = verdicts(x[None], looks, level, region)
        lost += decided[0] and any(_futile(x[:n], looks, level, region) for n in _open(x, looks, level, region))
    for x in values(150, 20, 41):
        stopped += any(_futile(x[:n], looks, level, region) for n in looks[:-1])
    assert lost <= 0.05 * 150
    assert stopped >= 0.5 * 150


def _open(x: Any, looks: tuple[int, ...], level: float, region: tuple[float, float]) -> list[int]:
    """The looks after which the experiment is not decided yet."""
    sides = [verdicts(x[None], looks[: i + 1], level, region) for i in range(len(looks))]
    return [n for n, (inside, outside) in zip(looks, sides, strict=True) if not (inside[0] or outside[0])]


def _futile(x: Any, looks: tuple[int, ...], level: float, region: tuple[float, float]) -> bool:
    later = [n for n in looks if n > len(x)]
    found = sequential.chance_of_decision(len(x), x.mean(), x.std(ddof=1), later, (level, level), region)
    return bool(later) and found < 0.1
