"""``studies export STUDY``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from studies.engine.cli.commands.tables import render
from studies.engine.cli.options import (
    UsageError,
    json_option,
    json_output,
    label_options,
    results_option,
    study_argument,
)
from studies.engine.cli.study_lookup import find_run
from studies.engine.cli.text import near
from studies.engine.planning.selection import Selection
from studies.engine.results.bundle.export import TrialsWentOn, export, unfinished
from studies.engine.storage.plan_file import PlanFile, read_plan
from studies.engine.storage.results_dir import Store

ATTEMPTS = 3
"""Of a study that runs: to render its tables and read its trials with none that ends between the two."""


@click.command()
@study_argument
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Zip to write; default: in the study's folder.")
@click.option("--spec", type=click.Path(path_type=Path), help="Table file; default STUDY.tables.yaml.")
@json_option
@label_options
@results_option
def command(output: Path | None, spec: Path | None, as_json: bool, **chosen: Any) -> int:
    """Write a zip to check or repeat STUDY (or STUDY@LABEL): configs, results, code, tables, figures, checksums."""
    with json_output(as_json) as found:
        found |= _export(Selection(**chosen), output, spec)
    return 0


def _export(selection: Selection, output: Path | None, spec: Path | None) -> dict[str, Any]:
    plan = find_run(selection)
    target = output or plan.folder / f"{plan.full_name}.zip"
    if os.path.exists(target) and not os.path.isfile(target):
        raise UsageError(f"{target}: a folder or a device, where a zip is to be written")
    if not target.parent.is_dir():
        raise UsageError(f"{target.parent}: no such folder")
    try:
        count = _rendered_and_written(selection.store, plan, target, spec)
    except OSError as error:
        raise UsageError(f"{error.filename or target}: {error.strerror or error}") from error
    size = target.stat().st_size / 2**20
    click.echo(f"export    {near(target)}  {count} files, {size:.1f} MB")
    if missing := len(unfinished(selection.store, plan)):
        click.echo(f"          {missing} of {len(plan.trials)} trials have no result; the checklist says so", err=True)
    return {"study": plan.full_name, "file": str(target), "files": count, "bytes": target.stat().st_size,
            "without_result": missing}  # fmt: skip


def _rendered_and_written(store: Store, plan: PlanFile, target: Path, spec: Path | None) -> int:
    """Render and export, again where a trial of a study that runs has begun or ended between the two."""
    from paper_tables import table_file_of

    for _ in range(ATTEMPTS):
        render(store, plan, spec)
        try:
            return export(store, plan, target, table_file_of(plan.folder, spec))
        except TrialsWentOn:
            plan = read_plan(plan.folder)
    raise UsageError(f"{plan.full_name}: its trials go on faster than its tables are made; export it once it has ended")
