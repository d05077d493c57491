"""``studies show STUDY``: its tables and claims in the terminal."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import click

from studies.engine.cli.main_table import print_table, summary_of
from studies.engine.cli.options import (
    UsageError,
    json_option,
    label_options,
    print_json,
    results_option,
    study_argument,
)
from studies.engine.cli.study_lookup import find_run
from studies.engine.cli.text import format_counts
from studies.engine.core.formatting import count
from studies.engine.core.suggest import suggest_or_list
from studies.engine.planning.selection import Selection
from studies.engine.results.collect import collect
from studies.engine.results.study_status import StudyStatus
from studies.engine.storage import plan_file
from studies.engine.storage.results_dir import Store

FRAMES = ("trials.parquet", "trials.csv")


@click.command()
@study_argument
@click.option("--table", "name", metavar="NAME", help="Show this table; default: the first. all: every one.")
@click.option("--claims", is_flag=True, help="Show the claims with their verdicts.")
@click.option("--no-notes", is_flag=True, help="Leave out the notes below a table, and say how many.")
@click.option("--spec", type=click.Path(path_type=Path), help="Table file; default: as for `tables`.")
@json_option
@label_options
@results_option
def command(name: str | None, claims: bool, no_notes: bool, spec: Path | None, as_json: bool, **chosen: Any) -> int:
    """Show the main table of STUDY (or STUDY@LABEL): the cells of the written tables, as far as the width allows.

    Nothing is rendered; results that came since the last run are in it.
    """
    if name and claims:
        raise UsageError("--table and --claims: choose one")
    if no_notes and as_json:
        raise UsageError("--no-notes: leave it out, --json has every note by itself")
    folder = _folder(Selection(**chosen))
    try:
        found = summary_of(folder, spec)
    except ValueError as error:  # TableError: all errors of the table file, with their positions
        raise UsageError(str(error)) from error
    tables = {table["name"]: table for table in found["printed"]}
    own = [one for one in tables if not one.startswith("claim")]
    if not tables:
        raise UsageError(f"{folder.name}: {_why_empty(folder)}")
    shown = _chosen(name or ("claims" if claims else own[0] if own else next(iter(tables))), list(tables), folder.name)
    if as_json:
        print_json({"study": folder.name, "folder": str(folder), "names": list(tables), "verdicts": found["verdicts"],
                    "tables": [tables[one] for one in shown], "claims": found["claims"]})  # fmt: skip
        return 0
    for i, one in enumerate(shown):
        click.echo("\n" if i else "", nl=False)
        print_table(tables[one], notes=not no_notes)
        if no_notes and (notes := tables[one]["notes"]):
            click.echo(f"{count(len(notes), 'note')} left out")
    if others := [one for one in tables if one not in shown]:
        click.echo(f"\nother tables: {', '.join(others)}")
    return 0


def _why_empty(folder: Path) -> str:
    """Return why no table has data: what has failed, with the first reason, or how far the trials are."""
    if not (folder / plan_file.NAME).exists():
        return "no table has data"
    states = StudyStatus(Store(folder.parent), plan_file.read_plan(folder)).watch.poll().values()
    counts = Counter(state.status for state in states)
    failed = [state.reason for state in states if state.status in ("failed", "lost")]
    if not failed:
        return f"no table has data yet; trials: {format_counts(counts)}; `studies status {folder.name}` shows them"
    number = f"{len(failed)} of {count(len(states), 'trial')} failed"
    return f"no table has data: {number}: {failed[0]}; `studies status {folder.name}` shows them"


def _chosen(name: str, known: list[str], study: str) -> list[str]:
    if name == "all":
        return known
    if name == "claims" and name not in known:
        raise UsageError(f"{study} has no claims")
    if name not in known:
        raise UsageError(f"{study} has no table {name}{suggest_or_list(name, known)}")
    return [name]


def _folder(selection: Selection) -> Path:
    """Return the study's folder, its frame up to date; without trial folders (a copy), the frame as it is."""
    copy = selection.store.study(selection.study)
    if not (copy / "plan.json").exists() and any((copy / frame).is_file() for frame in FRAMES):
        return copy
    plan = find_run(selection)
    try:
        collect(selection.store, plan.folder)
    except OSError as error:
        if not any((plan.folder / frame).is_file() for frame in FRAMES):
            raise UsageError(f"{error.filename or plan.folder}: {error.strerror or error}") from error
        click.echo(f"as last collected: {plan.folder} cannot be written", err=True)
    return plan.folder
