"""What a study found, in the terminal: a table with the cells of the written ones, and how its claims came out."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from studies.engine.cli.text import terminal_width

ROWS = 12
"""Most rows of the table at the end of `run` and `tables`."""
UNLIMITED = 10_000


def print_main(summary: Mapping[str, Any], study: str) -> None:
    """Print the first rows of the first table, and the numbers of verdicts."""
    claim_tables = [table for table in summary["printed"] if table["name"].startswith("claim")]
    tables = [table for table in summary["printed"] if table not in claim_tables]
    if tables:
        click.echo()
        print_table(tables[0], ROWS, notes=False)
        click.echo()
    if verdicts := summary["verdicts"]:
        counts = ", ".join(f"{number} {verdict}" for verdict, number in verdicts.items())
        click.echo(f"claims    {counts}  (studies show {study} --claims)")
    if tables:
        click.echo(f"more      studies show {study}" + (" --table NAME" if len(tables) > 1 else ""))


def print_table(table: Any, rows: int | None = None, notes: bool = True) -> None:
    """Print a table as wide as the terminal, or as it is where the output goes to a file."""
    from paper_tables.formats.terminal import render

    width = terminal_width()
    Console(file=sys.stdout, highlight=False, width=width or UNLIMITED).print(render(table, width, rows, notes))


def summary_of(folder: Path, spec: Path | None = None) -> dict[str, Any]:
    """Return the printed tables and the claims of a study folder. ValueError for a faulty table file or frame."""
    from paper_tables import summary

    return summary(folder, spec)
