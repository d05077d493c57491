"""The command line. A command is a file in `commands/`, imported only when it is called."""

from __future__ import annotations

import errno
import io
import os
import sys
from importlib import import_module, metadata
from typing import Any

import click

from studies.engine.cli.options import UsageError
from studies.engine.core.errors import StudyError
from studies.engine.core.files import DamagedFile
from studies.engine.core.last_collections import skip_last_collections
from studies.engine.core.suggest import suggest_or_list
from studies.engine.jobs.launcher import LaunchError

COMMANDS = {
    "new": "write a study to begin from",
    "list": "the studies, their arms and trials",
    "plan": "what a run would do, without doing it",
    "run": "run everything that is missing, then tables, figures and report",
    "show": "the main table and the claims of a study",
    "status": "the progress of a study",
    "logs": "a trial's log",
    "stop": "stop the running trials of a study after saving them",
    "tables": "collect results and render tables, figures and report",
    "sync": "bring MLflow up to date with the trial folders",
    "options": "what can be set: tasks, models, reducers, launchers, files",
    "schema": "what editors check study and table files against",
    "recipes": "training recipes of papers, compared with ours setting by setting",
    "remove": "trials of no study, or a study's results; shows them first",
    "export": "a zip with everything needed to check or repeat a study",
    "verify": "rerun some trials of an export and compare the numbers",
    "doctor": "check temporary files, stale claims, orphaned workers, disk and versions",
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"studies.engine.cli.commands.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"no command {args[0]}{suggest_or_list(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; problems of the study file or the command line end with exit code 2."""
        try:
            return super().invoke(ctx)
        except (StudyError, DamagedFile, LaunchError) as error:
            raise UsageError(str(error)) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _version(context: click.Context, option: click.Parameter, given: bool) -> None:
    """Print the version, the commit and where the code is."""
    if given and not context.resilient_parsing:
        from studies.engine.storage import code_snapshot

        git = code_snapshot.source()["git"]
        commit = f"commit {git['sha'][:12]}{' with changes' if git['dirty'] else ''}" if git else "commit unknown"
        click.echo(f"dynvit {metadata.version('dynvit')}, {commit}, {code_snapshot.root()}")
        context.exit()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Print version and commit."
)
def cli() -> None:
    """Run ablation studies and regenerate the papers' tables."""


def main() -> None:
    """Exit codes: 0 all done, 1 some trials failed, 2 the study file or the arguments are wrong, 130 interrupted."""
    skip_last_collections()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal in Latin-1 has no arrows
    try:
        code = cli.main(prog_name="studies", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python would try again at its end
        print(f"{error.strerror}: what is to be shown or kept cannot be written", file=sys.stderr)
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)
