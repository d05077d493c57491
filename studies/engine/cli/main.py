"""The command line: verbs are found by file name in ``verbs/`` and imported only when called."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import click

from studies.engine.cli.options import UsageError
from studies.engine.core.errors import StudyError
from studies.engine.core.suggest import suggest_or_list

VERBS = {
    "list": "the studies, their arms and trials",
    "plan": "what a run would do, without doing it",
    "run": "make it so: launch what is missing, then tables, figures and report",
    "status": "where a study stands",
    "logs": "a trial's log",
    "stop": "ask the running trials of a study to save and stop",
    "tables": "collect results and render tables, figures and report",
    "sync": "bring MLflow up to date with the trial folders",
    "recipes": "how papers train, setting by setting beside ours",
    "export": "a zip with everything needed to check or repeat a study",
    "verify": "run some trials of an export again and say which numbers agree",
    "doctor": "leftovers, stale claims, orphans, disk and versions",
}


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: click.Command = import_module(f"studies.engine.cli.commands.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            ctx.fail(f"no command {args[0]}{suggest_or_list(args[0], VERBS)}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; problems of the study file or the command line end with exit code 2."""
        try:
            return super().invoke(ctx)
        except StudyError as error:
            raise UsageError(str(error)) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def cli() -> None:
    """Run ablation studies and regenerate the papers' tables."""


def main() -> None:
    """Exit codes: 0 all done, 1 some trials failed, 2 the study file or the arguments are wrong, 130 interrupted."""
    try:
        code = cli.main(prog_name="studies", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)
