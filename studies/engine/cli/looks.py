"""The looks at a study's claims, from `decide:` of its file: what each needs, what it takes, what it saved."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from studies.engine.cli.options import UsageError
from studies.engine.cli.rule_record import rules_of
from studies.engine.cli.table_files import find_table_file
from studies.engine.core.formatting import count, duration
from studies.engine.core.trial import Trial
from studies.engine.planning.choice import Choice, choose
from studies.engine.planning.plan import Plan, make_plan
from studies.engine.planning.selection import Selection
from studies.engine.results.looks_taken import last_look, seeds_seen, trials_in_use
from studies.engine.storage.plan_file import find_plan
from studies.engine.storage.results_dir import Store
from studies.engine.study import study_files
from studies.engine.study.decide import Decide, look_seeds
from studies.engine.study.model import Study
from studies.engine.study.starts import Key


@dataclass(frozen=True)
class Looks:
    """The looks of a study at a scale."""

    study: Study
    choice: Choice
    decide: Decide
    store: Store
    device: str | None = None

    @property
    def numbers(self) -> tuple[int, ...]:
        return self.decide.looks

    def seeds(self, n: int) -> tuple[int, ...]:
        return look_seeds(self.study.at(self.choice.scale).seeds, n)

    def plan(self, n: int, arms: Collection[Key] | None = None) -> Plan:
        """Return what a look at n seeds of these arms needs; what failed before an earlier look is not tried again."""
        options = vars(self.choice) | {"seeds": self.seeds(n)}
        plan = make_plan(self.study, self.store, **options, arms=arms, device=self.device)
        before = self.seeds(self._last_n(plan.folder))
        failed = {t.folder_id for t in plan.selected if t.seed in before and plan.state(t).status == "failed"}
        return replace(plan, to_run=tuple(t for t in plan.to_run if t.folder_id not in failed))

    def _last_n(self, folder: Path) -> int:
        """Return the n of the last look; 0 before the first. The looks may be others since."""
        last = last_look(folder)
        today = self.numbers[last - 1] if 0 < last <= len(self.numbers) else 0
        return max(today, seeds_seen(folder))

    def over_limit(self, n: int, plan: Plan) -> str:
        """Return why a look would take too long; empty where it would not, or has begun."""
        limit = self.decide.max_hours
        begun = any(plan.state(trial).status != "planned" for trial in plan.to_run)
        if limit is None or plan.estimate is None or begun:
            return ""
        spent, more = sum(self._seconds({t.folder_id for t in plan.trials}).values()), plan.estimate.seconds
        if spent + more <= 3600 * limit:
            return ""
        return f"max_hours {limit:g}: {duration(spent)} until now, a look at n = {n} takes about {duration(more)} more"

    def saving(self, plan: Plan, asked: Collection[Key]) -> Iterator[str]:
        """Yield what the arms that claims use took, and what all of them would have taken at the last look.

        asked: arms for which a look asked for seeds, controls among them.
        """
        used, last = _arms_in_use(plan).union(asked), self.numbers[-1]
        shared: dict[str, Key] = {}
        for trial in plan.trials:  # one that two arms share counts once
            if trial.seed in self.seeds(last) and key_of(trial) in used:
                shared.setdefault(trial.folder_id, key_of(trial))
        took: dict[Key, list[float]] = {}
        for name, seconds in self._seconds(shared).items():
            took.setdefault(shared[name], []).append(seconds)
        trials, spent = sum(map(len, took.values())), sum(map(sum, took.values()))
        if took:
            yield f"ran       {count(trials, 'trial')} of {count(len(took), 'arm')} that claims use, {duration(spent)}"
            less = sum(fmean(found) * last for found in took.values()) - spent
            saved = f"{count(len(took) * last - trials, 'trial')}, {duration(less)}"
            yield f"saved     {saved}, against n = {last} for all of them"

    def _seconds(self, trials: Collection[str]) -> dict[str, float]:
        """Return the time of each finished trial, by folder id."""
        results = {name: self.store.trial(name).result() for name in trials}
        return {name: float((r.get("cost") or {}).get("seconds") or 0.0) for name, r in results.items() if r}


def key_of(trial: Trial) -> Key:
    return trial.arm.part, trial.arm.label


def looks_of(selection: Selection, rerun: str | None, device: str | None, spec: Path | None = None) -> Looks:
    """Return the looks of a study. UsageError where the options or the study leave nothing to decide by looks."""
    for option, given, why in (
        ("--seeds", selection.seeds, "the looks choose the seeds"),
        ("--smoke", selection.smoke, "one seed decides nothing"),
        ("--rerun", rerun, "verdicts rest on the numbers as they are; rerun first, without --until"),
    ):
        if given:
            raise UsageError(f"--until decided: leave out {option}, {why}")
    study, choice = choose(study_files.find(selection.study), selection)
    if decide := study.at(choice.scale).decide:
        rules_of(study, decide, spec)  # where the table file is wrong, before anything is launched
        return Looks(study, choice, decide, selection.store, device)
    others = [name for name in study.scales if study.at(name).decide]
    at = f" at scale {choice.scale}" if choice.scale else ""
    hint = f"; scale {', '.join(others)} has them" if others else ""
    raise UsageError(
        f"{study.file}: --until decided needs the numbers of seeds at which claims are judged{at}, "
        f"for example `decide: {{looks: [3, 5, 8, 12, 20]}}`{hint}"
    )


def plan_lines(looks: Looks, plan: Plan) -> Iterator[str]:
    """Yield for `plan` what each look takes at most, and which differences it can tell."""
    from paper_tables.claims.power import plan_power

    decide, before = looks.decide, set[int]()
    limit = f", at most {decide.max_hours:g} h of computing" if decide.max_hours else ""
    yield f"looks     at {', '.join(map(str, looks.numbers))} seeds with --until decided, error {decide.error:g}{limit}"
    in_use = set[Key]() if _has_new_claims(looks, plan) else _arms_in_use(plan)
    arms = (in_use or {*map(key_of, plan.trials)}).intersection(map(key_of, plan.selected))
    whole = looks.plan(looks.numbers[-1], arms) if arms else plan
    seconds = whole.estimate.seconds_of if whole.estimate else {}
    for n in looks.numbers:
        new = [t for t in whole.to_run if t.seed in {*looks.seeds(n)} - before]
        before.update(looks.seeds(n))
        takes = sum(seconds.get(t.folder_id, 0.0) for t in new)
        amount = f"at most {count(len(new), 'trial')}" + (f", {duration(takes)}" if takes else "")
        yield f"          n = {n}: {amount if new else 'nothing to run'}"
    yield from plan_power(find_table_file(looks.study), plan.folder, vars(decide), plan.scale)


def _has_new_claims(looks: Looks, plan: Plan) -> bool:
    """Return whether there are claims since the last run, of whose arms no look knows."""
    before = find_plan(plan.folder)
    known = {*before.decide.rules, *before.decide.changed} if before and before.decide else set[str]()
    return not known.issuperset(rules_of(looks.study, looks.decide))


def _arms_in_use(plan: Plan) -> set[Key]:
    """Return the arms that looks have judged claims and their controls by."""
    used = trials_in_use(plan.folder)
    return {key_of(trial) for trial in plan.trials if trial.folder_id in used}
