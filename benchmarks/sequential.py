"""How often verdicts over few seeds are wrong, and what they find: ``python -m benchmarks.sequential``, a minute.

Each row simulates one way to decide. Values are normal with SD 1; the claim is that their mean is above a bound.
False verdicts are counted with the mean at the bound, where a verdict of either kind rejects a true value; power is the
share of right verdicts at differences of that many SDs; seeds are what an experiment used until it was decided.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.special import stdtrit

from paper_tables.core import sequential

EXPERIMENTS = 50_000
WITH_FUTILITY = 5_000
"""Experiments in which every open look simulates what is to come."""
DIFFERENCES = (0.5, 0.8, 1.2, 2.0)


class Rule(NamedTuple):
    """`unit`: half width of the interval at n values of SD 1 (with divisor n - 1)."""

    name: str
    looks: tuple[int, ...]
    unit: Callable[[int], float]
    k: int = 1
    """Conditions of which any is enough, of correlation 0.5."""
    futility: float = 0.0
    """Chance of a decision below which no more seeds are taken."""
    plug_in: bool = False
    """Futile as soon as the needed n at this estimate and spread exceeds the last look."""


class Found(NamedTuple):
    right: Any
    wrong: Any
    seeds: Any


def t_interval(level: float) -> Callable[[int], float]:
    return lambda n: float(stdtrit(n - 1, 1 - level / 2)) / math.sqrt(n)


def group_sequential(looks: tuple[int, ...], k: int = 1, futility: float = 0.0, plug_in: bool = False) -> Rule:
    level = sequential.nominal_error(looks, 0.05 / k)
    name = f"group sequential, {100 * level:.3g} % each"
    name += f", any of {k}" * (k > 1) + f", futile below {100 * futility:g} %" * bool(futility)
    name += ", futile by needed n" * plug_in
    return Rule(name, looks, t_interval(level), k, futility, plug_in)


def confidence_sequence(n: int) -> float:
    values = np.random.default_rng(0).standard_normal(n)
    return sequential.confidence_sequence(values.tolist(), 0.05) / float(values.std(ddof=1))


RULES = (
    Rule("95 % once", (20,), t_interval(0.05)),
    Rule("95 % at each look", (3, 5, 8, 12, 20), t_interval(0.05)),
    group_sequential((3, 5, 8, 12, 20)),
    group_sequential((3, 5, 8, 12, 20), futility=0.1),
    group_sequential((3, 5, 8, 12, 20), plug_in=True),
    group_sequential((3, 5, 8, 12, 20), k=3),
    Rule("95 % at each look, any of 3", (3, 5, 8, 12, 20), t_interval(0.05), 3),
    group_sequential((3, 5, 10)),
    group_sequential((5, 10, 20)),
    Rule("confidence sequence, every n", tuple(range(3, 21)), confidence_sequence),
    Rule("95 % at every n", tuple(range(3, 21)), t_interval(0.05)),
)


def simulate(rule: Rule, difference: float, experiments: int) -> Found:
    """Look until decided; with several conditions the claim holds once one of them does."""
    rng = np.random.default_rng(2)
    shared = rng.standard_normal((experiments, 1, rule.looks[-1]))
    own = rng.standard_normal((experiments, rule.k, rule.looks[-1]))
    x = (own if rule.k == 1 else math.sqrt(0.5) * (shared + own)) + difference
    above = below = np.zeros((experiments, rule.k), bool)
    given_up = np.zeros(experiments, bool)
    seeds = np.full(experiments, rule.looks[-1])
    for look, n in enumerate(rule.looks):
        mean, sd = x[:, :, :n].mean(axis=2), x[:, :, :n].std(axis=2, ddof=1)
        half, open_still = rule.unit(n) * sd, ~(above | below) & ~given_up[:, None]
        above = above | open_still & (mean > half)
        below = below | open_still & (mean < -half)
        over = above.any(axis=1) | below.all(axis=1) | given_up
        later = rule.looks[look + 1 :]
        if rule.plug_in and later:
            given_up |= ~over & (np.abs(mean[:, 0]) < rule.unit(later[-1]) * sd[:, 0])
        for i in np.flatnonzero(~over) if rule.futility and later else ():
            level = sequential.nominal_error(rule.looks)
            chance = sequential.chance_of_decision(n, mean[i, 0], sd[i, 0], later, (level, level), (0.0, math.inf))
            given_up[i] = chance < rule.futility
        seeds = np.where((over | given_up) & (seeds > n), n, seeds)
    return Found(above.any(axis=1), below.any(axis=1), seeds)


def row(rule: Rule) -> str:
    experiments = WITH_FUTILITY if rule.futility else EXPERIMENTS
    null = simulate(rule, 0.0, experiments)
    false = null.right if rule.k > 1 else null.right | null.wrong
    found = [simulate(rule, difference, experiments) for difference in DIFFERENCES]
    powers = " ".join(f"{100 * one.right.mean():6.1f}" for one in found)
    used = " ".join(f"{one.seeds.mean():6.1f}" for one in (null, *found))
    looks = "every n, 3 to 20" if len(rule.looks) > 5 else ", ".join(map(str, rule.looks))
    return f"| {rule.name:50} | {looks:16} | {100 * false.mean():14.1f} | {powers} | {used} |"


def main() -> None:
    differences = " ".join(f"{d:6g}" for d in DIFFERENCES)
    print(
        f"| {'rule':50} | {'looks':16} | false verdicts | {'power at (SDs), %':27} | {'seeds used, at 0 and at':34} |"
    )
    print(f"| {'':50} | {'':16} | {'%':>14} | {differences} | {0:6g} {differences} |")
    print(f"| {'---':50} | {'---':16} | {'--:':>14} | {'--:':>27} | {'--:':>34} |")
    for rule in RULES:
        print(row(rule), flush=True)
    print("\nDistance from the bound that is decided by each look with 80 % probability, in SDs:")
    for looks in ((3, 5, 8, 12, 20), (3, 5, 10), (5, 10, 20)):
        distances = sequential.detectable(looks, sequential.nominal_error(looks))
        print(", ".join(f"{d:.2f} at n = {n}" for n, d in zip(looks, distances, strict=True)))


if __name__ == "__main__":
    main()
