"""``studies list``: all studies and their progress."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from studies.engine.cli import text
from studies.engine.cli.options import results_option
from studies.engine.core.formatting import count
from studies.engine.storage import plan_file
from studies.engine.storage.results_dir import Store
from studies.engine.study import parser, study_files
from studies.engine.study.acting_axes import points


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@results_option
def command(as_json: bool, results: Path) -> int:
    """List the studies in `studies/`, their arms and trials, at their default scale."""
    store = Store(results)
    found = [_row(file, store) for file in study_files.names().values()]
    if as_json:
        click.echo(json.dumps(found, indent=1, ensure_ascii=False))
        return 0
    if not found:
        click.echo("no studies: a study is a file studies/NAME.yaml")
        return 0
    rows = [["study", "arms", "trials", "done", "failed", "title"]]
    for row in found:
        counts = ["?" if row[key] is None else str(row[key]) for key in ("arms", "trials", "done", "failed")]
        rows.append([row["study"], *counts, row["title"]])
    click.echo("\n".join(text.table(rows, right=[1, 2, 3, 4], width=text.terminal_width())))
    for line in filter(None, map(study_files.hidden, (row["study"] for row in found))):
        click.echo(line)
    return 0


def _row(file: Path, store: Store) -> dict[str, Any]:
    """Read one study without checking model options, which `plan` does."""
    study, problems = parser.draft(file, thorough=False)
    row: dict[str, Any] = {"study": file.stem, "file": str(file), "errors": [str(problem) for problem in problems]}
    if study is None or problems:
        wrong = f"{count(len(problems), 'error')}; `studies plan {file.stem}` shows them"
        return {**row, "title": wrong, **dict.fromkeys(("scales", "default_scale", "arms", "trials", "done", "failed"))}
    sized = study.at(study.default_scale)
    arms = [(part.name, point.label) for part in sized.parts for point in points(part, study.resolver)]
    states = _states(store, study.name, {(*arm, seed) for arm in arms for seed in sized.seeds})
    return {
        **row,
        "title": study.title,
        "scales": list(study.scales),
        "default_scale": study.default_scale or None,
        "arms": len(arms),
        "trials": len(arms) * len(sized.seeds),
        "done": states.count("done"),
        "failed": states.count("failed"),
    }


def _states(store: Store, study: str, wanted: set[tuple[str, str, int]]) -> list[str]:
    """Return the statuses of the wanted trials, as far as a run has planned them."""
    try:
        plan = plan_file.read_plan(store.study(study))
    except FileNotFoundError:
        return []
    return [store.trial(t.folder).state().status for t in plan.trials if (t.part, t.arm, t.seed) in wanted]
