"""--on, --cluster, --launch: options of the commands that launch trials or show how they would be launched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from studies.engine.jobs.launcher import launcher_names

F = TypeVar("F", bound=Callable[..., Any])


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
