"""Intervals, paired tests and Holm, against scipy.stats and by their laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as reference

from paper_tables.core.statistics import detectable_effect, difference, holm, paired, summarize, t_quantile
from paper_tables.core.text import join_seeds


def test_interval_is_students() -> None:
    values = [91.0, 92.5, 90.7, 93.1]
    found = summarize(values)
    low, high = reference.t.interval(0.95, 3, np.mean(values), reference.sem(values))
    assert found.mean == pytest.approx(np.mean(values))
    assert found.sd == pytest.approx(np.std(values, ddof=1))
    assert found.half_width == pytest.approx((high - low) / 2)


def test_no_spread_below_three() -> None:
    for values in ([1.0], [1.0, 2.0]):
        found = summarize(values)
        assert (found.n, found.sd, found.half_width) == (len(values), None, None)
        assert difference(values).p is None


def test_paired_by_seed_whatever_the_order() -> None:
    arm, base = {0: 3.0, 1: 5.0, 2: 4.5, 7: 99.0}, {2: 4.0, 1: 4.2, 0: 3.1, 5: -7.0}
    found = paired(arm, base)
    assert found is not None
    test = reference.ttest_rel([3.0, 5.0, 4.5], [3.1, 4.2, 4.0])
    assert found.n == 3
    assert found.p == pytest.approx(test.pvalue)
    interval = test.confidence_interval(0.95)
    assert found.half_width == pytest.approx((interval.high - interval.low) / 2)
    assert paired(arm, {9: 1.0}) is None


def test_equal_differences_are_no_certainty() -> None:
    for values in ([0.1 + 0.2, 0.3, 0.3], [0.833333, 0.833334, 0.833333], [0.0, 0.0, 0.0]):
        found = difference(values)
        assert (found.half_width, found.p) == (None, None)


def test_holm() -> None:
    assert holm([0.01, None, 0.04, 0.03]) == pytest.approx([0.03, None, 0.06, 0.06])
    assert holm([]) == []
    rng = np.random.default_rng(0)
    p = rng.uniform(size=12)
    adjusted = [a for a in holm(list(p)) if a is not None]
    assert all(a >= x for a, x in zip(adjusted, p, strict=True))
    assert (np.diff(np.array(adjusted)[np.argsort(p)]) >= 0).all()


def test_needed_is_where_the_test_turns() -> None:
    """A difference of exactly the needed size has p = alpha / tests."""
    n, tests = 5, 8
    factor = detectable_effect(n, tests)
    values = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
    shifted = values + factor * values.std(ddof=1)
    found = difference(list(shifted))
    assert found.p == pytest.approx(0.05 / tests)
    assert t_quantile(3, 0.95) == pytest.approx(4.302652729911275)


@pytest.mark.parametrize("n", [3, 5])
def test_coverage(n: int) -> None:
    """The interval holds the true mean in 95 of 100 samples; a bootstrap at n = 3 does so in 75."""
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(4000):
        found = summarize(list(rng.normal(1.0, 2.0, n)))
        assert found.half_width is not None
        hits += abs(found.mean - 1.0) <= found.half_width
    assert math.isclose(hits / 4000, 0.95, abs_tol=0.012)


def test_seeds_that_follow_each_other_are_a_range() -> None:
    told = {(): "", (4,): "4", (0, 1, 2): "0, 1 and 2", (0, 1, 2, 3): "0 to 3", (0, 1, 2, 3, 7, 9): "0 to 3, 7 and 9"}
    assert {seeds: join_seeds(list(seeds)) for seeds in told} == told
