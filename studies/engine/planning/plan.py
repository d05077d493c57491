"""Compare arms times seeds with the disk: all trials, their states, and what a run would launch.

`run` launches every trial that is not done: missing, failed, stopped, lost. A failed trial continues from its
checkpoint if it has one. `--rerun` selects trials that start again from nothing: `failed` the failed ones, `stale` also
done ones whose code has changed since, `all` every selected trial. Their previous files are kept under attempts/.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from studies.engine.core.errors import Problem, StudyError
from studies.engine.core.trial import State, Trial
from studies.engine.planning import staleness
from studies.engine.planning.choice import check_task_rules, without_arm
from studies.engine.planning.chosen_trials import ChosenTrials
from studies.engine.planning.firsts_to_run import firsts_to_run
from studies.engine.planning.forecast import gpus as devices
from studies.engine.planning.forecast.estimate import Estimate, estimate
from studies.engine.planning.forecast.requirements import forecast
from studies.engine.planning.overrides import hashed_label, make_label, override_texts
from studies.engine.planning.trials import TrialMaker
from studies.engine.storage import plan_file
from studies.engine.storage.plan_file import folder_name, further_seeds
from studies.engine.storage.results_dir import Store
from studies.engine.study import study_files
from studies.engine.study.design import BASELINE
from studies.engine.study.model import Study
from studies.engine.study.parts import Axis
from studies.engine.study.starts import Key, Starts

Rerun = Literal["failed", "stale", "all"]
RERUNS: tuple[Rerun, ...] = ("failed", "stale", "all")


@dataclass(frozen=True)
class Plan:
    study: Study
    label: str
    """Empty for the default scale; else scale, ``smoke``, ``train.epochs=20`` joined by ``-``."""
    folder: Path
    scale: str
    trials: tuple[Trial, ...]
    """Every trial of the study at this scale, those with further seeds among them; two parts may ask for one."""
    made: Mapping[str, Trial]
    """By folder id and in the order of stages: those, and all that they start from, also of other studies or seeds."""
    selected: tuple[Trial, ...]
    """Those that `--only` and `--seeds` leave."""
    states: dict[str, State]
    """folder id -> state as on disk; a trial without a folder is ``planned``."""
    other_studies: Mapping[str, str]
    """File name and text of the studies whose trials some of these start from."""
    overrides: tuple[str, ...] = ()
    """What --set gave: ``train.epochs=20``."""
    to_run: tuple[Trial, ...] = ()
    """Each folder once, those first that others start from. Of the selected ones and of `added`: what is not done and
    not in a live worker's hands, and what restarts."""
    running: tuple[Trial, ...] = ()
    """Of the selected ones: those that a live worker holds at this moment."""
    restart: frozenset[str] = frozenset()
    """Folder ids of trials that start again from nothing; their content is moved to attempts/."""
    added: tuple[Trial, ...] = ()
    """Trials that are not selected, but that some of those to run start from, and that are not done."""
    again: frozenset[str] = frozenset()
    """Of `restart`: done trials that left no weights, though trials to run start from them."""
    reused: int = 0
    """Done trials that another study paid for."""
    stale: int = 0
    """Done trials whose code has changed since."""
    stale_because: Mapping[str, int] = field(default_factory=dict)
    """Why, in words, and how many of them."""
    estimate: Estimate | None = None
    """None: nothing to run, or nothing known about what it takes."""

    @property
    def active(self) -> tuple[Trial, ...]:
        """What a run launches or watches."""
        return tuple({trial.folder_id: trial for trial in (*self.to_run, *self.running)}.values())

    @property
    def stages(self) -> list[list[Trial]]:
        """The trials to run; those of a later stage start from some of an earlier one."""
        place: dict[str, int] = {}
        for trial in self.to_run:
            place[trial.folder_id] = max((place.get(first, -1) + 1 for first in trial.starts), default=0)
        return [[t for t in self.to_run if place[t.folder_id] == i] for i in range(max(place.values(), default=-1) + 1)]

    def state(self, trial: Trial) -> State:
        return self.states.get(trial.folder_id, State())

    @property
    def full_name(self) -> str:
        return folder_name(self.study.name, self.label)

    @property
    def further_seeds(self) -> tuple[int, ...]:
        """Seeds of its trials that are not in the study's list."""
        return tuple(sorted({t.seed for t in self.trials} - {*self.study.at(self.scale).seeds}))

    def to_plan_file(self) -> plan_file.PlanFile:
        """The whole study as plan.json keeps it, not only what `--only` and `--seeds` selected."""
        study, planned = self.study, {trial.folder_id for trial in self.trials}
        return plan_file.PlanFile(
            path=self.folder / plan_file.NAME,
            study=study.name,
            title=study.title,
            label=self.label,
            scale=self.scale,
            study_file=study.file.name,
            study_text=study.text,
            task=study.task.name,
            metrics={name: plan_file.PlannedMetric(m.source, m.direction, m.unit) for name, m in study.metrics.items()},
            parts=tuple(
                plan_file.PlannedPart(part.name, BASELINE, tuple(_planned_axis(axis) for axis in part.axes.values()))
                for part in study.at(self.scale).parts
            ),
            trials=tuple(
                plan_file.PlannedTrial(
                    a.part, a.label, dict(a.coords), a.is_baseline, a.blocks, t.seed, t.id, t.folder_id
                )
                for t in self.trials
                for a in [t.arm]
            ),
            other_studies=dict(self.other_studies),
            further_seeds=self.further_seeds,
            overrides=self.overrides,
            study_path=str(path) if (path := self.study.file.resolve()).parent != study_files.PACKAGE else "",
            origins={t.folder_id: f"{t.study}: {t.name}" for t in self.made.values() if t.folder_id not in planned},
        )


def _planned_axis(axis: Axis) -> plan_file.PlannedAxis:
    return plan_file.PlannedAxis(axis.name, axis.label or axis.name, axis.labels, axis.baseline)


def make_plan(
    study: Study,
    store: Store,
    *,
    scale: str = "",
    overrides: Sequence[tuple[str, Any]] = (),
    only: Mapping[str, tuple[str, ...]] | None = None,
    seeds: Sequence[int] | None = None,
    arms: Collection[Key] | None = None,
    smoke: bool = False,
    rerun: Rerun | None = None,
    device: str | None = None,
    count: bool = False,
) -> Plan:
    """Compare the study with the results folder.

    Reads only, unless `count`: then models without cost data are profiled and kept. device: the GPU of the forecast.
    seeds: also beyond the study's list. arms: part and label of those that are selected, of those that `only` leaves.
    """
    try:
        gpu = devices.find(device)
    except ValueError as error:
        raise StudyError([Problem("--device", str(error))]) from error
    scale = scale or study.default_scale
    planned = study.at(scale).seeds
    label = _label(study, store, scale, smoke, overrides)
    folder = store.study(folder_name(study.name, label))
    starts = Starts(study, scale, overrides, smoke)
    if wrong := [issue for arm in starts.arms for issue in arm.issues]:  # of --set: the file was checked before
        raise StudyError(Problem("--set", issue.text, str(setting.path[1])) for setting, issue in wrong)
    maker = TrialMaker(starts, store, label, smoke)
    base = (seeds or planned)[:1] if smoke else planned
    wanted = base if smoke or seeds is None else tuple(seeds)
    chosen = ChosenTrials(tuple(base), tuple(wanted), only or {}, arms, {} if smoke else further_seeds(folder))
    trials = maker.make(chosen.seeds_of)
    made = {t.folder_id: t for t in maker.made.values()}
    if only and (missed := [*without_arm(((t.arm.part, t.arm.coords) for t in trials), only)]):
        raise StudyError(missed)
    kept = chosen.selected(trials)
    trials = chosen.planned(trials, maker.existing)
    if overrides:
        check_task_rules(study, kept)
    states = {folder: store.trial(folder).state() for folder in maker.existing}
    texts = override_texts(overrides)
    plan = Plan(study, label, folder, scale, trials, made, kept, states, starts.other_studies, texts)
    plan = _select_to_run(plan, store, rerun)
    return replace(plan, estimate=_estimate(plan, store, gpu, count))


def _label(study: Study, store: Store, scale: str, smoke: bool, overrides: Sequence[tuple[str, Any]]) -> str:
    """Return the label of the results folder: that of an earlier version where there is one."""
    named = "" if scale == study.default_scale else scale
    if smoke and (taken := make_label(named, smoke, ())) in study.scaled:
        raise StudyError([Problem("--smoke", f"its results are called as those of the scale {taken}: --scale {taken}")])
    before = hashed_label(named, smoke, overrides)
    earlier = plan_file.find(store.root, study.name, before)
    return before if earlier is not None else make_label(named, smoke, overrides)


def _estimate(plan: Plan, store: Store, gpu: devices.Gpu, count: bool) -> Estimate | None:
    if not plan.to_run:
        return None
    done = [t for t in plan.trials if plan.state(t).status == "done"]
    same_task = [trial for trial in (*plan.to_run, *done) if trial.task == plan.study.task.ref]
    expected = forecast(same_task, plan.study.task, store.root, gpu, count)
    return estimate(plan.to_run, done, plan.states, store, expected)


# ---- what is on disk


def _select_to_run(plan: Plan, store: Store, rerun: Rerun | None) -> Plan:
    once = {trial.folder_id: trial for trial in plan.selected}
    done = [t for t in once.values() if plan.state(t).status == "done"]
    contents: staleness.Contents = {}
    why = {t.folder_id: list(staleness.reasons(store, t, plan.state(t), contents)) for t in done}
    reasons = {name: found for name, found in why.items() if found}
    stale = set(reasons)
    restart = {t.folder_id for t in once.values() if _must_restart(t, plan.state(t), stale, rerun)}
    restart |= {t.folder_id for t in once.values() if staleness.cannot_continue(store, t, plan.state(t))}
    launched = {i: t for i, t in once.items() if plan.state(t).status not in ("done", "running") or i in restart}
    added, again = firsts_to_run(plan.made, plan.states, store, launched, once)
    running = [t for t in (*once.values(), *added) if plan.state(t).status == "running"]
    launched |= {t.folder_id: t for t in added if t not in running} | {i: plan.made[i] for i in again}
    reused = sum((store.trial(t.folder_id).spec() or {}).get("study", "") not in ("", t.study) for t in done)
    return replace(
        plan,
        to_run=tuple(launched[i] for i in plan.made if i in launched),
        running=tuple(running),
        restart=frozenset(restart | again),
        added=tuple(added),
        again=frozenset(again),
        reused=reused,
        stale=len(stale),
        stale_because=Counter(reason for found in reasons.values() for reason in found),
    )


def _must_restart(trial: Trial, state: State, stale: set[str], rerun: Rerun | None) -> bool:
    if rerun is None or state.status in ("planned", "running") or not state.attempt:
        return False
    if rerun == "all":
        return True
    return state.status == "failed" or (rerun == "stale" and trial.folder_id in stale)
