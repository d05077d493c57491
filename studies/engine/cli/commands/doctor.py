"""``studies doctor``."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click

from studies.engine.cli.options import UsageError, results_option
from studies.engine.cli.study_lookup import plan_selection
from studies.engine.diagnostics.doctor import Finding, diagnose
from studies.engine.diagnostics.repair import repair
from studies.engine.planning.selection import Selection
from studies.engine.storage.results_dir import Store

MARKS = {"fine": " ", "note": "-", "attention": "!"}
COLORS = {"fine": None, "note": "cyan", "attention": "yellow"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a list of findings.")
@click.option("--fix", "--clean", "fix", is_flag=True, help="First remove what dead processes left behind.")
@click.option("--data", "study", metavar="STUDY", help="Check this study's data sets: classes, files, a sample.")
@click.option("--scale", metavar="SCALE", help="With --data: the study's size; else its default_scale.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="With --data: such as data.root=DIR.")
@results_option
def command(
    as_json: bool, fix: bool, study: str | None, scale: str | None, overrides: tuple[str, ...], results: Path
) -> int:
    """Check temporary files, claims, workers, disk, damaged files and versions, and suggest remedies.

    Exit code 0: everything is fine, 1: something needs attention.
    """
    if study is None and (scale or overrides):
        raise UsageError("--scale and --set go with --data STUDY")
    store = Store(results)
    done = repaired(store) if fix else []
    findings = list(diagnose(store) if study is None else _data(Selection(study, results, scale, overrides)))
    wrong = sum(finding.level == "attention" for finding in findings)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=1))
        return 1 if wrong else 0
    if fix:
        click.echo("\n".join([*done, f"fixed {len(done)}" if done else "nothing to fix"]) + "\n")
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for finding in findings:
        click.secho(line(finding, width), fg=COLORS[finding.level])
    click.echo(f"\n{wrong} need{'s' if wrong == 1 else ''} attention" if wrong else "\neverything is fine")
    return 1 if wrong else 0


def _data(selection: Selection) -> Iterator[Finding]:
    from studies.engine.diagnostics.data_check import check

    return check(plan_selection(selection))


def line(finding: Finding, width: int | None) -> str:
    """Return one line, wrapped with a hanging indent on a narrow terminal."""
    text = finding.text + (f" -> {finding.remedy}" if finding.remedy else "")
    head = f"{MARKS[finding.level]} {finding.what:10} "
    if width is None:
        return head + text
    return textwrap.fill(
        text, max(width, 40), initial_indent=head, subsequent_indent=" " * len(head), break_on_hyphens=False
    )


def repaired(store: Store) -> list[str]:
    """Repair and return one line per action."""
    try:
        return list(repair(store))
    except OSError as error:
        raise UsageError(f"{error.filename or store.root}: {error.strerror or error}") from error
