"""Compare arms times seeds with the disk: all trials, their states, and what a run would launch.

`run` launches every trial that is not done: missing, failed, stopped, lost. A failed trial continues from its
checkpoint if it has one. `--rerun` selects trials that start again from nothing: `failed` the failed ones, `stale` also
done ones whose code has changed since, `all` every selected trial. Their previous files are kept under attempts/.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from studies.engine.core.config import canonical_json
from studies.engine.core.errors import Problem, StudyError
from studies.engine.core.formatting import first_few
from studies.engine.core.trial import Arm, State, Trial
from studies.engine.planning import identity
from studies.engine.planning.choice import chosen
from studies.engine.planning.forecast import gpus as devices
from studies.engine.planning.forecast.estimate import Estimate, estimate
from studies.engine.planning.forecast.requirements import forecast
from studies.engine.planning.overrides import make_label
from studies.engine.planning.trial_index import match_existing
from studies.engine.storage import plan_file
from studies.engine.storage.code_snapshot import fingerprint, root
from studies.engine.storage.plan_file import folder_name
from studies.engine.storage.results_dir import Store
from studies.engine.study.arms import ResolvedArm
from studies.engine.study.design import BASELINE
from studies.engine.study.model import ScaledStudy, Study
from studies.engine.study.parts import Axis
from studies.engine.study.validation import cannot_be_built

Rerun = Literal["failed", "stale", "all"]
RERUNS: tuple[Rerun, ...] = ("failed", "stale", "all")


@dataclass(frozen=True)
class Plan:
    study: Study
    label: str
    """Empty for the default scale; else scale, ``smoke``, ``set-<hash6>`` joined by ``-``."""
    folder: Path
    scale: str
    trials: tuple[Trial, ...]
    """Every trial of the study at this scale; two parts may ask for the same one."""
    selected: tuple[Trial, ...]
    """Those that `--only` and `--seeds` leave."""
    states: dict[str, State]
    """folder id -> state as on disk; a trial without a folder is ``planned``."""
    to_run: tuple[Trial, ...]
    """Of the selected ones, each folder once: what is not done and not in a live worker's hands, and what restarts."""
    running: tuple[Trial, ...] = ()
    """Of the selected ones: those that a live worker holds at this moment."""
    restart: frozenset[str] = frozenset()
    """Folder ids of trials that start again from nothing (`--rerun`); their content is moved to attempts/."""
    reused: int = 0
    """Done trials that another study paid for."""
    stale: int = 0
    """Done trials whose code has changed since."""
    estimate: Estimate | None = None
    """None: nothing to run, or nothing known about what it takes."""

    def state(self, trial: Trial) -> State:
        return self.states.get(trial.folder_id, State())

    @property
    def full_name(self) -> str:
        return folder_name(self.study.name, self.label)

    def to_plan_file(self) -> plan_file.PlanFile:
        """The whole study as plan.json keeps it, not only what `--only` and `--seeds` selected."""
        study = self.study
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
    smoke: bool = False,
    rerun: Rerun | None = None,
    device: str | None = None,
    count: bool = False,
) -> Plan:
    """Compare the study with the results folder.

    Reads only, unless `count`: then models without cost data are profiled and kept. device: the GPU of the forecast.
    """
    try:
        gpu = devices.find(device)
    except ValueError as error:
        raise StudyError([Problem("--device", str(error))]) from error
    scale = scale or study.default_scale
    scaled = study.at(scale)
    label = make_label("" if scale == study.default_scale else scale, smoke, overrides)
    full_name = folder_name(study.name, label)
    wanted = (seeds or scaled.seeds)[:1] if smoke else scaled.seeds
    trials = _trials(study, scaled, study.arms(scale, overrides, smoke), wanted, full_name)
    trials, folders = match_existing(trials, store, study.task.name)
    kept = tuple(t for t in trials if (seeds is None or t.seed in seeds) and (not only or chosen(t.arm, only)))
    if not kept:
        raise StudyError([Problem("--only", "leaves no trial")])
    if overrides:
        _check_task_rules(study, kept)
    states = {folder: store.trial(folder).state() for folder in folders}
    plan = _select_to_run(Plan(study, label, store.study(full_name), scale, trials, kept, states, ()), store, rerun)
    return replace(plan, estimate=_estimate(plan, store, gpu, count))


def _check_task_rules(study: Study, trials: Iterable[Trial]) -> None:
    """Raise StudyError where --set makes an arm violate the task's own rules; the file's arms were checked before."""
    arms = {f"{trial.arm.part} {trial.arm.label}": trial.config for trial in trials}
    wrong: dict[str, list[str]] = {}
    for (arm, config), answer in zip(arms.items(), study.task.check([*arms.values()]), strict=True):
        for text in [answer.refusal] if answer.refusal else cannot_be_built(config, answer).values():
            wrong.setdefault(text, []).append(arm)
    if wrong:
        raise StudyError(
            Problem("--set", text + (f"   [{first_few(names, 1)}]" if len(names) < len(arms) else ""))
            for text, names in wrong.items()
        )


def _estimate(plan: Plan, store: Store, gpu: devices.Gpu, count: bool) -> Estimate | None:
    if not plan.to_run:
        return None
    done = [t for t in plan.trials if plan.state(t).status == "done"]
    expected = forecast((*plan.to_run, *done), plan.study.task, store.root, gpu, count)
    return estimate(plan.to_run, done, plan.states, store, expected)


def _trials(
    study: Study, scaled: ScaledStudy, arms: Iterable[ResolvedArm], seeds: Sequence[int], full_name: str
) -> tuple[Trial, ...]:
    task, found = study.task, []
    for resolved in arms:
        point, config = resolved.point, resolved.config
        arm = Arm(resolved.part.name, point.label, point.coords, config, point.is_baseline, point.blocks)
        text = canonical_json(config)
        for seed in seeds:
            key = identity.id_of(task.name, task.revision, text, seed)
            common = (config, resolved.defaults, scaled.resources, task.revision, full_name)
            found.append(Trial(key, key, arm, seed, task.ref, *common))
    return tuple(found)


# ---- what is on disk


def _select_to_run(plan: Plan, store: Store, rerun: Rerun | None) -> Plan:
    once = tuple({trial.folder_id: trial for trial in plan.selected}.values())
    done = [t for t in once if plan.state(t).status == "done"]
    stale = {t.folder_id for t in done if _is_stale(store, t, plan.state(t))}
    restart = frozenset(t.folder_id for t in once if _must_restart(t, plan.state(t), stale, rerun))
    running = tuple(t for t in once if plan.state(t).status == "running")
    launched = tuple(t for t in once if plan.state(t).status not in ("done", "running") or t.folder_id in restart)
    reused = sum((store.trial(t.folder_id).spec() or {}).get("study", "") not in ("", t.study) for t in done)
    return replace(plan, to_run=launched, running=running, restart=restart, reused=reused, stale=len(stale))


def _must_restart(trial: Trial, state: State, stale: set[str], rerun: Rerun | None) -> bool:
    if rerun is None or state.status in ("planned", "running"):
        return False
    if rerun == "all":
        return True
    return state.status == "failed" or (rerun == "stale" and trial.folder_id in stale)


def _is_stale(store: Store, trial: Trial, state: State) -> bool:
    env = store.trial(trial.folder_id).environment(state.attempt)
    return bool(env.get("source")) and env["source"] != fingerprint(root())
