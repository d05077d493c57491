"""``studies options [NAME ...]``: what can be set, with types, defaults and descriptions."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from studies.engine.cli import completion
from studies.engine.cli.main_table import UNLIMITED
from studies.engine.cli.option_lists import Option
from studies.engine.cli.options import json_option, print_json
from studies.engine.cli.own_options import find_topic
from studies.engine.cli.text import terminal_width

LEAST_TABLE = 100
"""Columns of a terminal below which descriptions stand under the names."""


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME...]")
@click.option(
    "--study", metavar="STUDY", shell_complete=completion.studies, help="NAME is registered by the imports of STUDY."
)
@json_option
def command(names: tuple[str, ...], study: str | None, as_json: bool) -> int:
    """List the options of a task (classify; classify train), a MODEL, reducer NAME, recipe NAME, launcher NAME, what
    the imports of STUDY.yaml register, and the keys of a study or table file. Without NAME: what there is."""
    found = find_topic(names, study)
    if as_json:
        print_json({"title": found.title, "options": [asdict(option) for option in found.options]})
        return 0
    width = terminal_width() or UNLIMITED
    console = Console(file=sys.stdout, highlight=False, width=width)
    console.print(Text(found.title, style="bold"))
    if not found.options:
        console.print("none")
    elif width >= LEAST_TABLE:
        console.print(_table(found.options))
    else:
        for option in found.options:
            console.print(Text.assemble((option.name, "bold"), f"  {option.type}", f"  {option.default}"))
            if option.description:
                console.print(Padding(Text(_first_sentence(option.description)), (0, 0, 0, 4)))
    return 0


def _table(options: list[Option]) -> Table:
    """Return a table whose names are never wrapped; columns without any text are left out."""
    table = Table.grid(padding=(0, 2, 0, 0))
    columns = [key for key in ("name", "type", "default", "description") if any(vars(o)[key] for o in options)]
    longest = max(len(option.name) for option in options)
    for key in columns:
        narrow = key == "name" and longest <= 40
        table.add_column(overflow="fold", no_wrap=narrow, max_width=24 if key in ("type", "default") else None)
    for option in options:
        table.add_row(*[Text(_first_sentence(vars(option)[key]), style="bold" * (key == "name")) for key in columns])
    return table


def _first_sentence(text: str) -> str:
    """Return a description's first sentence: `--json` has all of it."""
    first, dot, _ = text.partition(". ")
    return f"{first}." if dot else text
