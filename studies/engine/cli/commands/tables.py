"""``studies tables STUDY``."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from studies.engine.cli.main_table import print_main, summary_of
from studies.engine.cli.options import (
    UsageError,
    json_option,
    json_output,
    label_options,
    results_option,
    study_argument,
)
from studies.engine.cli.study_again import read_again
from studies.engine.cli.study_lookup import find_run
from studies.engine.cli.text import format_files, near
from studies.engine.planning.selection import Selection
from studies.engine.results.blank_metrics import blank_metrics
from studies.engine.results.collect import collect
from studies.engine.storage.plan_file import PlanFile
from studies.engine.storage.results_dir import Store

if TYPE_CHECKING:
    from paper_tables import Built


@click.command()
@study_argument
@click.option("--spec", type=click.Path(path_type=Path), help="Table file; default STUDY.tables.yaml.")
@click.option("--force", is_flag=True, help="Render even if nothing has changed.")
@json_option
@label_options
@results_option
def command(spec: Path | None, force: bool, as_json: bool, **chosen: Any) -> int:
    """Collect the results of STUDY (or STUDY@LABEL) and render its tables, figures and report. Needs no GPU."""
    selection = Selection(**chosen)
    with json_output(as_json) as found:
        plan, lines = read_again(selection.store, find_run(selection), selection.study)
        for line in lines:
            click.echo(line)
        built = render(selection.store, plan, spec, force)
        summary = summary_of(plan.folder, spec)
        print_main(summary, plan.full_name)
        found |= {"study": plan.full_name, "folder": str(plan.folder), "unchanged": built.unchanged}
        found |= {"tables": [str(file) for file in built.tables], "figures": [str(file) for file in built.figures]}
        found |= {"report": str(built.report), "verdicts": summary["verdicts"]}
    return 0


def render(store: Store, plan: PlanFile, spec: Path | None = None, force: bool = False) -> Built:
    """Write frame, tables, figures and report, and print where they are. UsageError if the table file is wrong."""
    if spec is not None and not os.path.isfile(spec):
        raise UsageError(f"{spec}: no such file")
    from paper_tables import build
    from paper_tables.site.index import write_index

    try:
        frame = collect(store, plan.folder)
        _say("frame", f"{near(frame)}  {coverage(frame)}")
        if blank := blank_metrics(store, plan):
            _say("blank", blank)
        built = build(plan.folder, spec, force)
        write_index(store.root)
    except ValueError as error:  # TableError: all errors of the table file, with their positions
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(f"{error.filename or plan.folder}: {error.strerror or error}") from error
    for head, files in (("tables", built.tables), ("figures", built.figures), ("report", [built.report])):
        if files:
            _say(head, format_files(files) + ("  unchanged" if built.unchanged else ""))
    return built


def coverage(frame: Path) -> str:
    """Return "115 trials", and how many of them have no result yet."""
    with open(frame, newline="") as rows:
        statuses = {row["trial"]: row["status"] for row in csv.DictReader(rows)}
    missing = sum(status != "done" for status in statuses.values())
    return f"{len(statuses)} trials" + (f", {missing} without a result" if missing else "")


def _say(head: str, text: str) -> None:
    click.echo(f"{head:10}{text}")
