"""``studies remove [STUDY ...]``: results that are not needed any more."""

from __future__ import annotations

from pathlib import Path

import click

from studies.engine.cli import completion
from studies.engine.cli.options import UsageError, json_option, json_output, results_option
from studies.engine.core.formatting import and_more, count, size
from studies.engine.core.suggest import suggest_or_list
from studies.engine.results.removal import Item, remove, study_and_trials, trials_of_no_study
from studies.engine.storage.plan_file import folders
from studies.engine.storage.results_dir import Store

SHOWN = 10


@click.command()
@click.argument("names", nargs=-1, metavar="[STUDY...]", shell_complete=completion.runs)
@click.option("--yes", "-y", is_flag=True, help="Remove; without it, only show what would be removed.")
@json_option
@results_option
def command(names: tuple[str, ...], yes: bool, as_json: bool, results: Path) -> int:
    """Show, and with --yes remove, the trials that belong to no study any more; of STUDY (or STUDY@LABEL): its results,
    with the trials that no other study has.

    Running and queued trials stay, and nothing outside the results folder is touched. Exit code 1: something stayed.
    """
    store = Store(results)
    items = study_and_trials(store, _folders(store, names)) if names else trials_of_no_study(store)
    with json_output(as_json) as found:
        done = list(remove(store, items)) if yes else items
        for line in _lines(done, yes):
            click.echo(line)
        gone, kept = [i for i in done if not i.kept], [i for i in done if i.kept]
        found |= {"removed": yes, "bytes": sum(i.bytes for i in gone), "folders": [str(i.path) for i in gone]}
        found["kept"] = {str(i.path): i.kept for i in kept}
    return int(bool(kept))


def _folders(store: Store, names: tuple[str, ...]) -> list[Path]:
    known = {folder.name: folder for folder in folders(store.root)}
    for name in names:
        if name not in known:
            labels = [other for other in known if other.partition("@")[0] == name]
            hint = f", there is {', '.join(labels)}" if labels else suggest_or_list(name, known)
            raise UsageError(f"{name} has not been run in {store.root}{hint}")
    return [known[name] for name in dict.fromkeys(names)]


def _lines(items: list[Item], done: bool) -> list[str]:
    gone, kept = [i for i in items if not i.kept], [i for i in items if i.kept]
    lines = [f"{'removed' if done else 'remove':10}{i.path.name}  {size(i.bytes)}" for i in gone[:SHOWN]]
    lines += [f"{'':10}{rest}"] if (rest := and_more(gone, SHOWN)) else []
    lines += [f"{'kept':10}{i.path.name}  {i.kept}" for i in kept]
    if not items:
        return ["nothing to remove: every trial belongs to a study"]
    total = f"{count(len(gone), 'folder')}, {size(sum(i.bytes for i in gone))}"
    return [*lines, f"{'total':10}{total}" + ("" if done else "; nothing is removed without --yes")]
