"""``run --until decided``: look by look, seeds are added to the arms of claims that are still undecided.

Every look begins from what is on disk, so the same command goes on wherever an earlier one ended.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING

import click

from paper_tables import table_file
from studies.engine.cli.options import UsageError
from studies.engine.core.formatting import count, duration, first_few
from studies.engine.core.trial import Trial
from studies.engine.planning.choice import Choice, choose
from studies.engine.planning.plan import Plan, make_plan
from studies.engine.planning.selection import Selection
from studies.engine.results.collect import collect
from studies.engine.results.looks_taken import history, last_look
from studies.engine.storage.results_dir import Store
from studies.engine.study import study_files
from studies.engine.study.decide import Decide, look_seeds
from studies.engine.study.model import Study
from studies.engine.study.starts import Key

if TYPE_CHECKING:
    from paper_tables.claims.looks import LookReport
    from studies.engine.cli.trial_runner import TrialRunner
    from studies.engine.execution.driver import DriverResult

UNTIL = ("decided",)


@dataclass
class Looks:
    """The looks of a study at a scale."""

    study: Study
    choice: Choice
    decide: Decide
    store: Store
    device: str | None

    @classmethod
    def of(cls, selection: Selection, rerun: str | None, device: str | None) -> Looks:
        """Raise UsageError where the options or the study leave nothing to decide by looks."""
        for option, given, why in (
            ("--seeds", selection.seeds, "the looks choose the seeds"),
            ("--smoke", selection.smoke, "one seed decides nothing"),
            ("--rerun", rerun, "a verdict rests on the numbers as they are; rerun first, without --until"),
        ):
            if given:
                raise UsageError(f"--until decided: leave out {option}, {why}")
        study, choice = choose(study_files.find(selection.study), selection)
        decide = study.at(choice.scale).decide
        if decide is None:
            others = [name for name in study.scales if study.at(name).decide]
            at = f" at scale {choice.scale}" if choice.scale else ""
            hint = f"; scale {', '.join(others)} has one" if others else ""
            raise UsageError(
                f"{study.file}: --until decided needs `decide: {{looks: [3, 5, 8, 12, 20]}}`{at}, "
                f"the numbers of seeds at which claims are judged{hint}"
            )
        return cls(study, choice, decide, selection.store, device)

    def seeds(self, n: int) -> tuple[int, ...]:
        return look_seeds(self.study.at(self.choice.scale).seeds, n)

    def first(self) -> Plan:
        return self.plan(self.decide.looks[0])

    def plan(self, n: int, arms: Collection[Key] | None = None) -> Plan:
        """Return what a look at n seeds of these arms needs; what failed before an earlier look is not tried again."""
        options = vars(self.choice) | {"seeds": self.seeds(n)}
        plan = make_plan(self.study, self.store, **options, arms=arms, device=self.device)
        before = self.seeds(self.decide.looks[last - 1]) if (last := last_look(plan.folder)) else ()
        failed = {t.folder_id for t in plan.selected if t.seed in before and plan.state(t).status == "failed"}
        return replace(plan, to_run=tuple(t for t in plan.to_run if t.folder_id not in failed))

    def headline(self, n: int, plan: Plan) -> str:
        """Return "1 of 5, n = 3: 12 trials, 4 min one after another"."""
        what = count(len(plan.to_run), "trial") if plan.to_run else "nothing to run"
        takes = f", {duration(plan.estimate.seconds)} one after another" if plan.to_run and plan.estimate else ""
        return f"{self.decide.looks.index(n) + 1} of {len(self.decide.looks)}, n = {n}: {what}{takes}"

    def over_limit(self, n: int, plan: Plan) -> str:
        """Return why a look would take too long; empty where it would not, or has begun."""
        limit = self.decide.max_hours
        begun = any(plan.state(trial).status != "planned" for trial in plan.to_run)
        if limit is None or plan.estimate is None or begun:
            return ""
        spent, more = sum(self._seconds({t.folder_id for t in plan.trials}).values()), plan.estimate.seconds
        if spent + more <= 3600 * limit:
            return ""
        return f"max_hours {limit:g}: {duration(spent)} until now, a look at n = {n} takes {duration(more)} more"

    def saving(self, plan: Plan) -> Iterator[str]:
        """Yield what the arms that claims use took, and what all of them would take at the last look."""
        used = {trial for entry in history(plan.folder) for trial in entry["trials"]}
        arms = {_key(t) for t in plan.trials if t.folder_id in used}
        trials: dict[str, dict[Key, None]] = {}
        for t in plan.trials:
            if t.seed in self.seeds(self.decide.looks[-1]) and _key(t) in arms:
                trials.setdefault(t.folder_id, {})[_key(t)] = None
        took: dict[Key, dict[str, float]] = {}
        for trial, seconds in self._seconds(trials).items():
            took.setdefault(next(iter(trials[trial])), {})[trial] = seconds  # one that two arms share counts once
        fixed, ran = len(took) * self.decide.looks[-1], sum(map(len, took.values()))
        hours = sum(fmean(found.values()) * self.decide.looks[-1] for found in took.values())
        spent = sum(sum(found.values()) for found in took.values())
        if took:
            yield f"ran       {count(ran, 'trial')} of {count(len(took), 'arm')} that claims use, {duration(spent)}"
            all_of_them = f"against n = {self.decide.looks[-1]} for all of them"
            yield f"saved     {count(fixed - ran, 'trial')}, {duration(hours - spent)}, {all_of_them}"

    def _seconds(self, trials: Collection[str]) -> dict[str, float]:
        """Return the time of each finished trial, by folder id."""
        results = {trial: self.store.trial(trial).result() for trial in trials}
        return {trial: float((r.get("cost") or {}).get("seconds") or 0.0) for trial, r in results.items() if r}


def run(looks: Looks, plan: Plan, runner: TrialRunner) -> tuple[Plan, DriverResult | None]:
    """Take look after look, beginning with the plan of the first. Return all that was selected, and how it ended."""
    from paper_tables.claims.looks import take_look

    allowed, selected, outcome = {_key(t) for t in plan.selected}, dict[str, Trial](), None
    numbers = looks.decide.looks
    for n, following in zip(numbers, (*numbers[1:], 0), strict=True):
        selected |= {t.folder_id: t for t in (*plan.selected, *plan.added)}
        click.echo(f"look      {looks.headline(n, plan)}")
        outcome = runner.run(plan)
        if outcome is not None and not _has_ended(plan, outcome):
            click.echo(f"          the same command takes the look at n = {n} when its trials have ended, and goes on")
            return replace(plan, selected=tuple(selected.values()), added=()), outcome
        collect(looks.store, plan.folder)
        report = take_look(plan.folder, table_file(looks.study.name), n)
        for line in report.lines:
            click.echo(f"          {line}")
        if not report.arms:
            break
        if not (arms := allowed.intersection(report.arms)):
            click.echo("stopped   --only leaves out the arms that undecided claims need")
            break
        after = looks.plan(following, arms)
        if reason := looks.over_limit(following, after):
            click.echo(f"stopped   {reason}")
            break
        plan = after
    for line in (*_verdicts(report), *looks.saving(plan)):
        click.echo(line)
    return replace(plan, selected=tuple(selected.values()), added=()), outcome


def _has_ended(plan: Plan, outcome: DriverResult) -> bool:
    """Return whether every trial of a look is done or has failed for good."""
    if outcome.interrupted or outcome.problem or outcome.detached:
        return False
    return all(outcome.states[trial.folder_id].status in ("done", "failed", "lost") for trial in plan.selected)


def _key(trial: Trial) -> Key:
    return trial.arm.part, trial.arm.label


def _verdicts(report: LookReport) -> Iterator[str]:
    """Yield how many conditions have which outcome, and the names of those without a verdict."""
    named = {"undecided": report.undecided, "futile": report.futile, "lost": report.lost}
    parts = [f"{len(report.decided)} decided"] if report.decided else []
    parts += [f"{len(names)} {outcome} ({first_few(names)})" for outcome, names in named.items() if names]
    yield f"verdicts  {', '.join(parts) or 'no claim here is judged over seeds'}"
