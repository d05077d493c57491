"""--on, --cluster, --launch: which launcher, and with which options; shared by the verbs that launch or show it.

A cluster's profile lays over the study's `resources.launcher`, the command line over both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from studies.engine.core.errors import Problem, StudyError
from studies.engine.core.trial import Trial
from studies.engine.core.typing_check import hint
from studies.engine.jobs.launcher import launcher_names
from studies.engine.planning.overrides import parse_override
from studies.engine.planning.selection import Refused

F = TypeVar("F", bound=Callable[..., Any])


def launch_options(command: F) -> F:
    for option in (
        click.option("--launch", multiple=True, metavar="KEY=VALUE", help="Option of the launcher: partition=gpu."),
        click.option(
            "--cluster",
            metavar="FILE|NAME",
            envvar="DYNVIT_CLUSTER",
            help="SLURM options of a site; a NAME stands for ~/.config/dynvit/clusters/NAME.yaml.",
        ),
        click.option(
            "--on", metavar="|".join(launcher_names()), help="Launcher; without it Ray where it is installed."
        ),
    ):
        command = option(command)
    return command


def preferred(on: str | None, cluster: str | None, trials: Sequence[Trial]) -> str | None:
    """The launcher that is asked for: by name, by a cluster's profile, by the study's resources."""
    if on and on not in launcher_names():
        raise Refused(f"--on  no launcher {on}{hint(on, launcher_names())}\n1 error")
    if on or cluster:
        return on or "slurm"
    named = {launcher for trial in trials for launcher in trial.resources.launcher}
    return named.pop() if len(named) == 1 else None


def options(trials: Sequence[Trial], name: str, cluster: str | None, typed: Sequence[str]) -> dict[str, Any]:
    """The launcher's options; Refused with every problem of profile and command line."""
    given = _normal(next((t.resources.launcher[name] for t in trials if name in t.resources.launcher), {}))
    problems: list[Problem] = []
    over: dict[str, Any] = {}
    for text in typed:
        try:
            key, value = parse_override(text, "--launch")
            over[key] = value
        except StudyError as error:
            problems.extend(error.problems)
    if name == "slurm":
        problems += _slurm_problems(over)
        if cluster:
            try:
                given |= _normal(_profile(cluster))
            except StudyError as error:
                problems.extend(error.problems)
    if problems:
        raise Refused(str(StudyError(problems)))
    return given | _normal(over)


def _profile(cluster: str) -> dict[str, Any]:
    from studies.engine.launchers.slurm import profile

    return profile.load_profile(cluster)


def _slurm_problems(over: dict[str, Any]) -> list[Problem]:
    from studies.engine.launchers.slurm import options as _slurm_options

    found: list[Any] = []
    _slurm_options.read_options(over, found)
    return [Problem("--launch", m.text, ".".join(map(str, m.path))) for m in found]


def _normal(given: Mapping[str, Any]) -> dict[str, Any]:
    """One spelling for each option, so that the later one wins."""
    return {key.replace("-", "_"): value for key, value in given.items()}
