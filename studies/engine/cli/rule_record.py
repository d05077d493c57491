"""Digests of the claims' rules, written into plan.json before a study's first trial and kept from then on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from studies.engine.cli.options import UsageError
from studies.engine.cli.table_files import find_table_file, named_table_file
from studies.engine.planning.plan import Plan
from studies.engine.results.looks_taken import seeds_seen
from studies.engine.storage.plan_file import ChangedRule, PlanFile, PlannedDecide, find_plan
from studies.engine.storage.results_dir import Store
from studies.engine.study.decide import Decide
from studies.engine.study.model import Study


def recorded_rules(plan: Plan, store: Store, spec: Path | None = None) -> PlanFile:
    """Return the plan's file with its table file: `spec`, what the study says, or what it was rendered with before.

    Where the study decides by looks, it has the claims' rules of now and of before the first trial.
    """
    named = named_table_file(plan.study, spec)
    file = replace(plan.to_plan_file(), table_file=named)
    decide = plan.study.at(plan.scale).decide
    if decide is None:
        return file
    before = find_plan(plan.folder)
    done = Counter((t.arm.part, t.arm.label) for t in plan.trials if plan.state(t).status == "done")
    n = seeds_seen(plan.folder) or max(done.values(), default=0) if before else 0
    rules = rules_of(plan.study, decide, spec or (None if named else _before(plan.folder)))
    return replace(file, decide=merged(decide, before.decide if before else None, rules, n))


def _before(folder: Path) -> Path | None:
    """Return a person's own table file that a folder is rendered with, though the study does not name it."""
    from paper_tables import rendered_with

    found = rendered_with(folder)
    return found if found is not None and found.is_file() else None


def rules_of(study: Study, decide: Decide, spec: Path | None = None) -> dict[str, str]:
    """Return the digests of the rules of the study's claims as they are now. UsageError for a faulty table file."""
    from paper_tables.claims.looks import rule_digests

    try:
        return rule_digests(find_table_file(study, spec), vars(decide))
    except ValueError as error:  # TableError
        raise UsageError(str(error)) from error


def merged(decide: Decide, before: PlannedDecide | None, now: Mapping[str, str], n: int) -> PlannedDecide:
    """Return what plan.json records. n: seeds that have results; without any, no rule comes too late."""
    if not n:
        return PlannedDecide(**vars(decide), rules=dict(now))
    rules, known = (before.rules, before.changed) if before else ({}, {})
    changed = {claim: rule for claim, rule in known.items() if claim not in now}  # perhaps back another day
    for claim, digest in now.items():
        if rules.get(claim) != digest:
            earlier = known.get(claim)
            changed[claim] = earlier if earlier and earlier.digest == digest else ChangedRule(digest, n)
    return PlannedDecide(**vars(decide), rules=dict(rules), changed=changed)
