"""``studies schema [study|table]``: what editors check study and table files against."""

from __future__ import annotations

from pathlib import Path

import click

from studies.engine.cli.options import UsageError, json_option, print_json
from studies.engine.cli.schema_files import SCHEMAS, schema, write_schema
from studies.engine.cli.text import near
from studies.engine.core.suggest import suggest_or_list


@click.command()
@click.argument("kind", metavar="[study|table]", default=SCHEMAS[0], shell_complete=lambda *_: list(SCHEMAS))
@click.option("-o", "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write it to a file.")
@json_option
def command(kind: str, out: Path | None, as_json: bool) -> int:
    """Print the JSON Schema of study files (default) or table files.

    Editors use it with a first line `# yaml-language-server: $schema=FILE`; `studies new` writes both.
    """
    if kind not in SCHEMAS:
        raise UsageError(f"no schema {kind}{suggest_or_list(kind, SCHEMAS)}")
    if out is None:
        print_json(schema(kind))
        return 0
    try:
        write_schema(kind, out)
    except OSError as error:
        raise UsageError(f"{error.filename or out}: {error.strerror or error}") from error
    if as_json:
        print_json({"schema": kind, "file": str(out)})
    else:
        click.echo(f"schema    {near(out)}; first line of a {kind} file: # yaml-language-server: $schema={out.name}")
    return 0
