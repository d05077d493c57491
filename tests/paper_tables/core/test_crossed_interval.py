"""The interval over seeds and images at once: coverage where either varies, and the sizes it reduces to."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from paper_tables.core.statistics import crossed_interval

SEEDS, IMAGES = 6, 60


@pytest.mark.parametrize(("seeds", "images", "rest"), [(1, 0.1, 1), (0.1, 3, 1), (0.3, 2, 3), (0, 0, 1), (1, 8, 0)])
def test_coverage(seeds: float, images: float, rest: float) -> None:
    rng, experiments = np.random.default_rng(7), 1_500
    covered, plain = 0, 0
    for _ in range(experiments):
        table = seeds * rng.standard_normal((SEEDS, 1)) + images * rng.standard_normal((1, IMAGES))
        table = table + rest * rng.standard_normal((SEEDS, IMAGES))
        mean, half = crossed_interval(table) or (0.0, 0.0)
        covered += abs(mean) <= half
        by_seed = table.mean(axis=1)
        plain += abs(mean) <= stats.t.ppf(0.975, SEEDS - 1) * by_seed.std(ddof=1) / SEEDS**0.5
    assert covered / experiments >= 0.95 - 3 * (0.05 * 0.95 / experiments) ** 0.5
    if images > 2 * rest:
        assert plain / experiments < 0.8  # the interval over seeds says nothing of other images


def test_with_images_that_are_all_alike_it_is_that_over_seeds() -> None:
    by_seed = np.array([1.0, 2.0, 4.0, 3.0])
    mean, half = crossed_interval(np.repeat(by_seed[:, None], 30, axis=1)) or (0.0, 0.0)
    assert (mean, half) == (
        pytest.approx(2.5),
        pytest.approx(stats.t.ppf(0.975, 3) * by_seed.std(ddof=1) / 2),
    )


def test_it_is_never_narrower_than_the_one_over_seeds() -> None:
    rng = np.random.default_rng(3)
    for _ in range(2_000):
        n, m = rng.integers(3, 9), rng.integers(5, 80)
        spread = rng.exponential(size=3)
        table = spread[0] * rng.standard_normal((n, 1)) + spread[1] * rng.standard_normal((1, m))
        table = table + spread[2] * rng.standard_normal((n, m))
        _, half = crossed_interval(table) or (0.0, 0.0)
        assert half >= stats.t.ppf(0.975, n - 1) * table.mean(axis=1).std(ddof=1) / n**0.5 * (1 - 1e-12)


def test_no_spread() -> None:
    assert crossed_interval(np.zeros((3, 10))) is None
