"""What a plan's reader should know besides counts: the recipes its trials follow, and what speaks against a setting."""

from __future__ import annotations

from collections.abc import Iterator

from studies.engine.core.trial import Trial
from studies.engine.planning.plan import Plan
from studies.engine.study import recipes

SHOWN = 6
"""Settings of a recipe that are named as other than the recipe has them."""


def remarks(plan: Plan) -> list[str]:
    """Lines below a plan's counts."""
    arms = list({(t.arm.part, t.arm.label): t for t in plan.selected}.values())
    return [*_recipes(arms), *cautions(plan)]


def cautions(plan: Plan) -> list[str]:
    """Each text once, with the arms that it is about."""
    found: dict[str, list[str]] = {}
    arms = list({(t.arm.part, t.arm.label): t for t in plan.selected}.values())
    answers = plan.study.task.check([trial.config for trial in arms])
    for trial, answer in zip(arms, answers, strict=True):
        for text in answer.cautions:
            found.setdefault(text, []).append(f"{trial.arm.part} {trial.arm.label}")
    return [f"caution   {text}   [{_some(arms)}]" for text, arms in found.items()]


def _recipes(arms: list[Trial]) -> Iterator[str]:
    """A line for each recipe; of its settings those that every one of its arms has otherwise."""
    following: dict[str, list[Trial]] = {}
    for trial in arms:
        if name := str(trial.config.get("recipe", "")):
            following.setdefault(name, []).append(trial)
    for name, trials in following.items():
        if name not in recipes.names():
            continue
        changed = [dict.fromkeys(recipes.overridden(trial.config, name)) for trial in trials]
        common = [key for key in changed[0] if all(key in other for other in changed)]
        more = f" and {len(common) - SHOWN} more" if len(common) > SHOWN else ""
        but = f", but {', '.join(common[:SHOWN])}{more}" if common else ""
        yield f"recipe    {name}: {recipes.find(name).title}{but}"


def _some(arms: list[str]) -> str:
    return ", ".join(arms[:2]) + (f" and {len(arms) - 2} more" if len(arms) > 2 else "")
