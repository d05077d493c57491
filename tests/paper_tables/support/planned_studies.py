"""The studies of the repository as frames in which every trial is planned and none has run, and their claims."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from paper_tables.core.paths import table_file
from paper_tables.schema.claims import Claim, Condition
from paper_tables.schema.table_file import read_table_file
from studies.engine.cli.study_lookup import plan_selection
from studies.engine.planning.selection import Selection
from studies.engine.results.collect import collect
from studies.engine.storage.plan_file import write_plan
from studies.engine.storage.results_dir import Store
from studies.engine.study import parser, study_files


@cache
def claims(study: str) -> tuple[Claim, ...]:
    file = table_file(study)
    return read_table_file(file)[0].claims if file else ()


STUDIES = [study for study in study_files.names() if claims(study)]


def conditions() -> list[Condition]:
    return [claim.whole(condition) for study in STUDIES for claim in claims(study) for condition in claim.conditions]


def write(results: Path, scales: tuple[str, ...] = ()) -> Path:
    """Write the frame of each study with claims, and of those that the claims name, at the scales (default: all)."""
    for study in [*STUDIES, "cost", "token_redundancy"]:
        for scale in parser.load(study_files.names()[study]).scales or ("",):
            if not scales or scale in scales:
                plan = plan_selection(Selection(study, results=results, scale=scale or None))
                collect(Store(results), write_plan(plan.to_plan_file()).parent)
    return results
