"""``run --until decided``: look by look, seeds are added to the arms of claims that are still undecided.

Every look begins from what is on disk, so the same command goes on wherever an earlier one ended.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from studies.engine.cli.looks import Looks, key_of
from studies.engine.core.formatting import count, duration, first_few
from studies.engine.core.trial import Trial
from studies.engine.planning.plan import Plan
from studies.engine.results.collect import collect
from studies.engine.study.starts import Key

if TYPE_CHECKING:
    from paper_tables.claims.looks import LookReport
    from studies.engine.cli.trial_runner import TrialRunner
    from studies.engine.execution.driver import DriverResult


def run(looks: Looks, plan: Plan, runner: TrialRunner) -> tuple[Plan, DriverResult | None]:
    """Take look after look, beginning with the plan of the first. Return all that was selected, and how it ended."""
    from paper_tables.claims.looks import take_look

    allowed, asked, selected = {key_of(t) for t in plan.selected}, set[Key](), dict[str, Trial]()
    for n, following in zip(looks.numbers, (*looks.numbers[1:], 0), strict=True):
        selected |= {t.folder_id: t for t in (*plan.selected, *plan.added)}
        click.echo(f"look      {looks.numbers.index(n) + 1} of {len(looks.numbers)}, n = {n}: {_amount(plan)}")
        outcome = runner.run(plan)
        if outcome is not None and not _has_ended(plan, outcome):
            click.echo(f"          the same command takes the look at n = {n} when its trials have ended, and goes on")
            break
        collect(looks.store, plan.folder)
        report = take_look(plan.folder, None, n)
        for line in report.lines:
            click.echo(f"          {line}")
        asked.update(report.arms)
        after = _after(looks, following, report, allowed)
        if after is None:
            for line in (*_verdicts(report), *looks.saving(plan, asked)):
                click.echo(line)
            break
        plan = after
    return replace(plan, selected=tuple(selected.values()), added=()), outcome


def _after(looks: Looks, n: int, report: LookReport, allowed: set[Key]) -> Plan | None:
    """Return the plan of the next look, None where there is none."""
    if not report.arms:
        return None
    if not (arms := allowed.intersection(report.arms)):
        click.echo("stopped   --only leaves out the arms that undecided claims need")
        return None
    plan = looks.plan(n, arms)
    if reason := looks.over_limit(n, plan):
        click.echo(f"stopped   {reason}")
        return None
    return plan


def _amount(plan: Plan) -> str:
    if not plan.active:
        return "nothing to run"
    takes = f", {duration(plan.estimate.seconds)} one after another" if plan.estimate else ""
    return count(len(plan.active), "trial") + takes


def _has_ended(plan: Plan, outcome: DriverResult) -> bool:
    """Return whether every trial of a look is done or has failed for good."""
    if outcome.interrupted or outcome.problem or outcome.detached:
        return False
    return all(outcome.states[trial.folder_id].status in ("done", "failed", "lost") for trial in plan.selected)


def _verdicts(report: LookReport) -> Iterator[str]:
    """Yield how many conditions have which outcome, and the names of those without a verdict."""
    named = {"undecided": report.undecided, "futile": report.futile, "lost": report.lost}
    parts = [f"{len(report.decided)} decided"] if report.decided else []
    parts += [f"{len(names)} {outcome} ({first_few(names)})" for outcome, names in named.items() if names]
    yield f"verdicts  {', '.join(parts) or 'no claim of this study is judged over seeds of its own arms'}"
