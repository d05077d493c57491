"""``studies doctor``."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import click

from studies.engine.claim import Claim
from studies.engine.doctor import Finding, diagnose
from studies.engine.examine import leftovers
from studies.engine.selection import Refused, results_option
from studies.engine.store import Store

MARKS = {"fine": " ", "note": "-", "attention": "!"}
COLOURS = {"fine": None, "note": "cyan", "attention": "yellow"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs: a list of findings.")
@click.option("--clean", is_flag=True, help="First remove half-written files and claims of dead processes.")
@results_option
def command(as_json: bool, clean: bool, results: Path) -> int:
    """Leftovers, stale claims, dead workers, disk, unreadable files, versions; each with what to do.

    Exit code 0 where everything is fine, 1 where something needs attention.
    """
    store = Store(results)
    removed = sweep(store) if clean else []
    findings = list(diagnose(store))
    wrong = sum(finding.level == "attention" for finding in findings)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=1))
        return 1 if wrong else 0
    if clean:
        click.echo(f"removed {len(removed)} half-written files and claims of dead processes\n")
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for finding in findings:
        click.secho(line(finding, width), fg=COLOURS[finding.level])
    click.echo(f"\n{wrong} need{'s' if wrong == 1 else ''} attention" if wrong else "\neverything is fine")
    return 1 if wrong else 0


def line(finding: Finding, width: int | None) -> str:
    """One line, folded with a hanging indent where a terminal is narrower."""
    text = finding.text + (f" -> {finding.remedy}" if finding.remedy else "")
    head = f"{MARKS[finding.level]} {finding.what:10} "
    if width is None:
        return head + text
    return textwrap.fill(
        text, max(width, 40), initial_indent=head, subsequent_indent=" " * len(head), break_on_hyphens=False
    )


def sweep(store: Store) -> list[Path]:
    """Remove what no live process needs."""
    try:
        return [*_files(leftovers(store.root, time.time())), *_claims(store)]
    except OSError as error:
        raise Refused(f"{error.filename or store.root}: {error.strerror or error}") from error


def _files(paths: list[Path]) -> list[Path]:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return paths


def _claims(store: Store) -> Iterator[Path]:
    for file in [*store.trials.glob("*/claim"), *store.root.glob("*/driver")]:
        token = Claim(file).take()  # as a worker would: nothing is taken from the living
        if token is not None:
            Claim(file).release(token)
            yield file
