"""``studies recipes [NAME]``: how papers train, setting by setting beside what we do."""

from __future__ import annotations

import click

from studies.engine.cli import text
from studies.engine.cli.options import UsageError
from studies.engine.core.errors import StudyError
from studies.engine.study import recipes

HEAD = """# Recipes

How the papers train, as presets: `recipe: NAME` in a study, or `--set recipe=NAME`; everything the study says itself
stands above it. `studies plan` names the recipe and what the study has otherwise. Made from `dynvit/recipes/*.yaml` by
`python -m studies recipes --markdown`; a test compares.

The learning rate follows the batch where the source scales it: `train.lr` is for `train.lr_batch` images.

What applies to all of them: `train.batch_size` is the whole batch, over all GPUs; the schedule moves with every update
(timm's scripts: with every epoch); mixed precision is bfloat16 (`train.amp: auto`) where the sources have float16; the
evaluation crops 0.9 of the resized image, DeiT and its descendants 0.875.
"""


@click.command()
@click.argument("name", required=False)
@click.option("--markdown", is_flag=True, help="All of them as docs/recipes.md has them.")
def command(name: str | None, markdown: bool) -> int:
    """The recipes there are, or one of them beside its source."""
    if markdown:
        click.echo("\n".join([HEAD, *(recipes.markdown(one) for one in recipes.names())]), nl=False)
        return 0
    if name is None:
        table = [["recipe", "for", "title"]]
        table += [[one, recipes.find(one).models, recipes.find(one).title] for one in recipes.names()]
        click.echo("\n".join(text.table(table, width=text.terminal_width())))
        return 0
    try:
        found = recipes.find(name)
    except KeyError as error:
        from studies.engine.core.suggest import suggest_or_list

        raise UsageError(f"no recipe {name}{suggest_or_list(name, recipes.names())}") from error
    except StudyError as error:
        raise UsageError(str(error)) from error
    click.echo(f"{name}: {found.title}\nfor {found.models}\n" + "\n".join(found.source) + "\n")
    click.echo(
        "\n".join(text.table([("setting", "ours", "source"), *recipes.rows(found)], width=text.terminal_width()))
    )
    for note in found.notes:
        click.echo(f"\n{note}")
    return 0
