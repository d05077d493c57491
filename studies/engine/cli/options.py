"""Command-line options that several commands share.

```
@click.command()
@study_argument
@selection_options          # or label_options for a command that only reads results
@results_option
def command(**chosen) -> int:
    plan = plan_selection(Selection(**chosen))
```
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import IO, Any, TypeVar

import click

from studies.engine.cli import completion
from studies.engine.jobs.launcher import launcher_names

F = TypeVar("F", bound=Callable[..., Any])

study_argument = click.argument("study", metavar="STUDY", shell_complete=completion.studies)
"""A name in `studies/` (of the current folder or of the package), or a path to a .yaml file."""


def _possible_folder(context: click.Context, option: click.Parameter, folder: Path) -> Path:
    """Refuse what no file system takes as a name."""
    try:
        os.lstat(folder)
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            raise UsageError(f"--results  {folder}: {error.strerror}") from error
    return folder


results_option = click.option(
    "--results",
    type=click.Path(file_okay=False, path_type=Path),
    callback=_possible_folder,
    default=Path("results"),
    envvar="DYNVIT_RESULTS",
    show_default=True,
    help="Folder of trials and tables; also $DYNVIT_RESULTS.",
)


device_option = click.option(
    "--device",
    metavar="NAME|TFLOPS:GB",
    envvar="DYNVIT_DEVICE",
    help="GPU to estimate for: h200, a100, ... or its sustained speed and memory, 60:80; also $DYNVIT_DEVICE.",
)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, and everything else to stderr.")


@contextmanager
def json_output(as_json: bool) -> Iterator[dict[str, Any]]:
    """Yield a dict to fill. as_json: it is printed at the end, and what is said meanwhile goes to stderr."""
    found: dict[str, Any] = {}
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        yield found
    if as_json:
        print_json(found)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=1, ensure_ascii=False))


def label_options(command: F) -> F:
    """Add the options that determine the results folder of a study."""
    for option in (
        click.option("--smoke", is_flag=True, help="One seed, one epoch, few images. Results go to STUDY@smoke."),
        click.option(
            "--set",
            "overrides",
            multiple=True,
            metavar="KEY=VALUE",
            help="Set a config key everywhere (PART.KEY=VALUE: in one part). Results go to STUDY@KEY=VALUE.",
        ),
        click.option(
            "--scale",
            metavar="SCALE",
            help="Size of the study; default: the file's default_scale.",
            shell_complete=completion.scales,
        ),
    ):
        command = option(command)
    return command


def selection_options(command: F) -> F:
    """Add `label_options` and the options that select trials."""
    for option in (
        click.option("--seeds", metavar="0,1", help="Only these seeds."),
        click.option(
            "--only",
            multiple=True,
            metavar="AXIS=LEVEL,...",
            shell_complete=completion.axes,
            help="Only these arms: recursion=1,3, part=sret or sret.recursion=1; may be given several times.",
        ),
    ):
        command = option(command)
    return label_options(command)


def launch_options(command: F) -> F:
    """Add the options that choose and configure the launcher."""
    for option in (
        click.option("--launch", multiple=True, metavar="KEY=VALUE", help="Option of the launcher: partition=gpu."),
        click.option(
            "--cluster",
            metavar="FILE|NAME",
            envvar="DYNVIT_CLUSTER",
            help="SLURM options of a cluster; NAME means ~/.config/dynvit/clusters/NAME.yaml.",
        ),
        click.option("--on", metavar="|".join(launcher_names()), help="Launcher; default: Ray if it is installed."),
    ):
        command = option(command)
    return command


def check_cluster(launcher: str) -> None:
    """Raise UsageError where --cluster was typed, not taken from the environment, for a launcher other than SLURM."""
    source = click.get_current_context().get_parameter_source("cluster")
    if launcher != "slurm" and source is click.core.ParameterSource.COMMANDLINE:
        raise UsageError(f"--cluster is for slurm, not for {launcher}")


class UsageError(click.ClickException):
    """The study file or the arguments are wrong; the message is printed as it is, exit code 2."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(self.message, file=file, err=file is None)
