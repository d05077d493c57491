"""The text of `studies plan`: arms and their states, what is to run and what it takes, recipes, warnings."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from studies.engine.cli.text import arms_table, counts_in_order
from studies.engine.core import yaml_loader
from studies.engine.core.config import get
from studies.engine.core.formatting import count, duration, first_few, size
from studies.engine.core.trial import Trial
from studies.engine.planning.plan import Plan
from studies.engine.planning.staleness import OLDER_CODE
from studies.engine.study import recipes
from studies.engine.study.acting_axes import without_option

SETTINGS_SHOWN = 6
"""Settings in which a study differs from its recipe that are named."""


def plan_lines(plan: Plan, width: int | None = None) -> list[str]:
    """Return the plan itself, without recipes and warnings."""
    return [_head(plan), "", *_arms(plan, width), "", *_totals(plan)]


def plan_notes(plan: Plan) -> list[str]:
    """Return the lines below a plan's totals: recipes and warnings."""
    return [*_recipes(_one_per_arm(plan.selected)), *_inert_axes(plan), *warnings(plan)]


def warnings(plan: Plan) -> list[str]:
    """Return what the task objects to in configs that it accepts: each text once, with its place and its arms."""
    trials = _one_per_arm(plan.selected)
    answers = plan.study.task.check([trial.config for trial in trials])
    cautions = [(trial, text) for trial, answer in zip(trials, answers, strict=True) for text in answer.cautions]
    return [f"warning   {text}" for text in (*_once(plan, cautions), *missing_files(plan))]


def missing_files(plan: Plan) -> list[str]:
    """Return which files that trials to run read are not on this machine: each once, with its place and its arms."""
    return _once(plan, ((trial, text) for trial in _one_per_arm(plan.to_run) for text in trial.missing))


def _once(plan: Plan, remarks: Iterable[tuple[Trial, str]]) -> list[str]:
    arms_of: dict[str, list[Trial]] = {}
    for trial, text in remarks:
        arms_of.setdefault(text, []).append(trial)
    names = {text: first_few([f"{t.arm.part} {t.arm.label}" for t in found], 2) for text, found in arms_of.items()}
    return [f"{text}{_place(plan, arms_of[text][0], text)}   [{arms}]" for text, arms in names.items()]


def _place(plan: Plan, trial: Trial, text: str) -> str:
    """Return where the study file sets what a warning is about; empty where no setting of its is named."""
    if trial.study != plan.selected[0].study:  # of another one, from which some of these start
        return ""
    part = next(part for part in plan.study.at(plan.scale).parts if part.name == trial.arm.part)
    levels = [part.axes[axis].level(level).patch for axis, level in trial.arm.coords if level is not None]
    held = [s for patch in (part.base, *levels) for s in patch if get(trial.config, s.key) == s.value]
    named = [setting for setting in held if re.search(rf"(?<![\w.]){re.escape(setting.key)}\b", text)]
    if not named:
        return ""
    place = yaml_loader.parse(plan.study.text, plan.study.file).problem(named[-1].path, "")
    return f"   {place.where}:{place.line}:{place.column}"


def results_line(root: Path) -> str:
    """Return where results go and how much space is free there."""
    existing = root
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    return f"results   {root}   {size(shutil.disk_usage(existing).free)} free"


def _one_per_arm(trials: Iterable[Trial]) -> list[Trial]:
    return list({(t.arm.part, t.arm.label): t for t in trials}.values())


# ---- arms and states


def _head(plan: Plan) -> str:
    parts = {t.arm.part for t in plan.selected}
    arms = {(t.arm.part, t.arm.label) for t in plan.selected}
    seeds = {t.seed for t in plan.selected}
    states = {"done": 0, "failed": 0, "planned": 0} | Counter(plan.state(t).status for t in plan.selected)
    counts = ", ".join(f"{number} {name}" for name, number in counts_in_order(states))
    of = f" of {len(plan.trials)}" if len(plan.selected) < len(plan.trials) else ""
    return (
        f"{plan.full_name}  {count(len(parts), 'part')}, {count(len(arms), 'arm')} x {count(len(seeds), 'seed')}"
        f" = {count(len(plan.selected), 'trial')}{of}   ({counts})"
    )


def _arms(plan: Plan, width: int | None) -> list[str]:
    arms: dict[tuple[str, str], Counter[str]] = {}
    for trial in plan.selected:
        arms.setdefault((trial.arm.part, trial.arm.label), Counter())[plan.state(trial).status] += 1
    return arms_table(((part, arm, count) for (part, arm), count in arms.items()), width)


# ---- totals


def _totals(plan: Plan) -> Iterator[str]:
    yield f"to run    {_to_run(plan)}"
    if restart := plan.restart - plan.again:
        yield f"restart   {count(len(restart), 'trial')}; previous files are kept under attempts/"
    yield from seed_lines(plan)
    yield from stage_lines(plan)
    if plan.to_run:
        yield f"cost      {_cost(plan)}"
        yield from _resources(plan)
    yield f"reused    {count(plan.reused, 'trial')} from another study   stale code {plan.stale}"
    if set(plan.stale_because) - {OLDER_CODE}:
        yield from stale_lines(plan)


def stale_lines(plan: Plan) -> Iterator[str]:
    """Yield why done trials are not what they would be today, and what trains them again."""
    lines = [f"stale     {count(number, 'done trial')} {reason}" for reason, number in plan.stale_because.items()]
    yield from lines[:-1]
    yield from [f"{line}; `--rerun stale` trains them again" for line in lines[-1:]]


def seed_lines(plan: Plan) -> Iterator[str]:
    """Yield which of the selected seeds are not in the study's list."""
    listed = plan.study.at(plan.scale).seeds
    if further := sorted({t.seed for t in plan.selected} - {*listed}):
        known = ", ".join(map(str, listed))
        yield f"seeds     {', '.join(map(str, further))}: beyond the study's list {known}; later plans keep them"


def stage_lines(plan: Plan) -> Iterator[str]:
    """Yield how trials wait for those that they start from, and which of these run besides what is selected."""
    stages = plan.stages
    if len(stages) > 1:
        texts = [_stage(plan, stage) for stage in stages]
        yield f"stages    {texts[0]}, then {', then '.join(texts[1:])}: each starts from trials of an earlier one"
    if plan.added:
        names = first_few([trial.name for trial in plan.added])
        yield f"added     {count(len(plan.added), 'trial')} that others start from: {names}"
    if plan.again:
        names = first_few([plan.made[name].name for name in plan.again])
        yield f"again     {count(len(plan.again), 'trial')} that left no weights, which others start from: {names}"
        yield "          trained again to keep them; previous files are kept under attempts/"


def _stage(plan: Plan, trials: list[Trial]) -> str:
    seconds = plan.estimate.seconds_of if plan.estimate else {}
    total = sum(seconds.get(trial.folder_id, 0.0) for trial in trials)
    return count(len(trials), "trial") + (f" ({duration(total)})" if total else "")


def _to_run(plan: Plan) -> str:
    if not plan.to_run:
        return "nothing, " + ("all others are running" if plan.running else "all done")
    gpus = plan.to_run[0].resources.gpus
    text = count(len(plan.to_run), "trial")
    if gpus:
        each = f"{gpus:g} GPU{'s' if gpus > 1 else ''} each"
        text += f", {int(1 / gpus)} at a time on a GPU ({each})" if gpus <= 0.5 else f" ({each})"
    return text + (f"; {len(plan.running)} running" if plan.running else "")


def _cost(plan: Plan) -> str:
    estimate = plan.estimate
    if estimate is None or not estimate.seconds_per_trial:
        return "not measured yet"
    hours = estimate.gpu_hours
    total = f"{hours:.1f} GPU-hours" if hours else f"{duration(estimate.seconds)} one after another"
    basis = []
    if estimate.measured_on:
        device = f", {estimate.device}" if estimate.device else ""
        basis.append(f"measured on {count(estimate.measured_on, 'trial')}{device}")
    if estimate.forecast:
        which = "" if estimate.forecast == len(plan.to_run) else f" for {count(estimate.forecast, 'trial')}"
        basis.append(f"estimated{which} from multiply-accumulates: {estimate.assumptions}")
    if estimate.unknown:
        basis.append(f"without {count(estimate.unknown, 'trial')} of unknown cost")
    return f"{total}   [{duration(estimate.seconds_per_trial)} per trial, {'; '.join(basis)}]"


def _resources(plan: Plan) -> Iterator[str]:
    """Yield memory, models without cost data, and arms that do not fit their resources."""
    estimate = plan.estimate
    if estimate is None:
        return
    if estimate.memory_gb is not None:
        available = "" if estimate.memory_available is None else f" of {estimate.memory_available:g} GB"
        where = f"{available}{' on a GPU' if plan.to_run[0].resources.gpus else ''}"
        yield f"memory    up to about {estimate.memory_gb:.1f} GB{where} ({estimate.memory_of})"
    if estimate.unprofiled:
        have = "has" if estimate.unprofiled == 1 else "have"
        models = count(estimate.unprofiled, "model")
        yield f"unprofiled {models} {have} no cost data; --count profiles them here (imports torch, a second each)"
    yield from (f"          {line}" for line in estimate.failures)
    if estimate.violations:
        cases = count(len(estimate.violations), "case")
        yield f"does not fit: {cases}; raise the resources, or choose smaller settings"
        yield from (f"          {line}" for line in estimate.violations)


# ---- axes and recipes


def _inert_axes(plan: Plan) -> Iterator[str]:
    """Yield a line for each axis that does not act in some arms because their model or reducer lacks its option."""
    arms: dict[tuple[str, str], list[str]] = {}
    parts = {part.name: part for part in plan.study.at(plan.scale).parts}
    for arm in (trial.arm for trial in _one_per_arm(plan.selected)):
        for axis in without_option(arm.coords, parts[arm.part]):
            arms.setdefault((arm.part, axis), []).append(arm.label)
    for (part, axis), labels in arms.items():
        yield f"inert     {part} {axis}: no such option in {first_few(labels, 2)}"


def _recipes(arms: list[Trial]) -> Iterator[str]:
    """Yield a line for each recipe, with the settings that every one of its arms changes."""
    following: dict[str, list[Trial]] = {}
    for trial in arms:
        if name := str(trial.config.get("recipe", "")):
            following.setdefault(name, []).append(trial)
    for name, trials in following.items():
        if name not in recipes.names():
            continue
        changed = [dict.fromkeys(recipes.overridden(trial.config, name)) for trial in trials]
        common = [key for key in changed[0] if all(key in other for other in changed)]
        exceptions = f", but {first_few(common, SETTINGS_SHOWN)}" if common else ""
        yield f"recipe    {name}: {recipes.find(name).title}{exceptions}"
