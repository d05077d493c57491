"""``studies recipes [NAME]``: training recipes of papers, compared with ours setting by setting."""

from __future__ import annotations

import click

from studies.engine.cli import text
from studies.engine.cli.options import UsageError, json_option, print_json
from studies.engine.core.errors import StudyError
from studies.engine.study import recipes

HEAD = """# Recipes

How the papers train, as presets: `recipe: NAME` in a study, or `--set recipe=NAME`; the study's own settings override
it. `studies plan` names the recipe and the settings in which the study differs. Generated from `dynvit/recipes/*.yaml`
by `python -m studies recipes --markdown`; a test compares.

The learning rate follows the batch where the source scales it: `train.lr` is for `train.lr_batch` images.

What applies to all of them: `train.batch_size` is the whole batch, over all GPUs; the schedule moves with every update
(timm's scripts: with every epoch); mixed precision is bfloat16 (`train.amp: auto`) where the sources have float16; the
evaluation crops 0.9 of the resized image, DeiT and its descendants 0.875.
"""


@click.command()
@click.argument("name", required=False)
@click.option("--markdown", is_flag=True, help="Print all of them as in docs/recipes.md.")
@json_option
def command(name: str | None, markdown: bool, as_json: bool) -> int:
    """List the recipes, or compare one of them with its source."""
    if markdown:
        click.echo("\n".join([HEAD, *(recipes.markdown(one) for one in recipes.names())]), nl=False)
        return 0
    if name is None:
        if as_json:
            print_json({one: recipes.find(one).title for one in recipes.names()})
            return 0
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
    if as_json:
        print_json({"name": name, **vars(found)})
        return 0
    click.echo(f"{name}: {found.title}\nfor {found.models}\n" + "\n".join(found.source) + "\n")
    click.echo(
        "\n".join(text.table([("setting", "ours", "source"), *recipes.rows(found)], width=text.terminal_width()))
    )
    for note in found.notes:
        click.echo(f"\n{note}")
    return 0
