"""``studies new NAME``: a study to begin from."""

from __future__ import annotations

from pathlib import Path

import click

from studies.engine.cli.options import UsageError, json_option, json_output
from studies.engine.cli.schema_files import SCHEMAS, write_schema
from studies.engine.cli.text import near
from studies.engine.core.files import write_atomic
from studies.engine.core.yaml_loader import scalar
from studies.engine.study import study_files
from studies.engine.study.settings import LONGEST_NAME, NAME, TAKEN

TEMPLATES = Path(__file__).parents[1] / "templates"
KINDS = {"ablation": "one model, one factor at a time", "models": "several models side by side"}
TABLES = """\
# yaml-language-server: $schema=.schema/table.json
# Tables and figures of NAME.yaml; `studies options table` lists every key.
study: NAME
tables:
  - name: results
    label: tab:NAME
    caption: "{title} ({n} seeds)."
    columns:
      - {metric: top1, show: mean_sd, digits: 2, best: bold}
      - {metric: top1, head: "$\\\\Delta$ top-1", show: paired_difference, digits: 2, interval: 0.95, mark: holm}
      - {metric: gflops, head: "MACs ({unit})"}
figures:
  - {name: pareto, kind: scatter, x: gflops, y: top1, frontier: true, caption: "Accuracy against multiply-accumulates."}
"""


@click.command()
@click.argument("name")
@click.option(
    "--template",
    type=click.Choice(list(KINDS)),
    default="ablation",
    show_default=True,
    help="; ".join(f"{name}: {text}" for name, text in KINDS.items()) + ".",
)
@json_option
def command(name: str, template: str, as_json: bool) -> int:
    """Write studies/NAME.yaml, a commented study that runs in a minute, and studies/NAME.tables.yaml, its tables.

    Nothing is overwritten.
    """
    if not NAME.fullmatch(name) or name in TAKEN or "." in name:
        raise UsageError(
            f"{name}: a study's name has letters A to Z, digits, _ and - and is none of {', '.join(TAKEN)}"
        )
    if len(name) > LONGEST_NAME:
        raise UsageError(f"a study's name of {len(name)} letters: at most {LONGEST_NAME}")
    if not isinstance(scalar(name), str):
        raise UsageError(f"{name}: a study file would read this as no text: choose a name that has other letters, too")
    folder = Path("studies")
    study, tables = folder / f"{name}.yaml", folder / f"{name}.tables.yaml"
    if taken := next((file for file in (study, tables) if file.exists()), None):
        raise UsageError(f"{taken} is there already: choose another name, or remove it")
    if name in study_files.names():
        raise UsageError(f"{name} is a study of the package, which yours would hide: choose another name")
    try:
        for kind in SCHEMAS:
            write_schema(kind, folder / ".schema" / f"{kind}.json")
        write_atomic(study, (TEMPLATES / f"{template}.yaml").read_text().replace("NAME", name), exclusive=True)
        write_atomic(tables, TABLES.replace("NAME", name), exclusive=True)
    except OSError as error:
        raise UsageError(f"{error.filename or folder}: {error.strerror or error}") from error
    with json_output(as_json) as found:
        found |= {"study": str(study), "tables": str(tables), "schemas": str(folder / ".schema")}
        click.echo(
            f"study     {near(study)}\ntables    {near(tables)}\nnext      studies plan {name}; studies run {name}"
        )
    return 0
