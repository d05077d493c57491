"""Which launcher runs the trials, and with which options.

A cluster profile overrides the study's `resources.launcher`; the command line overrides both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from studies.engine.core.errors import Problem, StudyError
from studies.engine.core.trial import Trial
from studies.engine.core.typing_check import hint
from studies.engine.jobs.launcher import names
from studies.engine.planning.overrides import parse_override


def preferred(on: str | None, cluster: str | None, trials: Sequence[Trial]) -> str | None:
    """Return the requested launcher: by name, by a cluster profile, or by the study's resources; None: no request."""
    if on and on not in names():
        raise StudyError([Problem("--on", f"no launcher {on}{hint(on, names())}")])
    if on or cluster:
        return on or "slurm"
    named = {launcher for trial in trials for launcher in trial.resources.launcher}
    return named.pop() if len(named) == 1 else None


def options(trials: Sequence[Trial], name: str, cluster: str | None, typed: Sequence[str]) -> dict[str, Any]:
    """Return the launcher's options.

    Raises:
        StudyError: with every problem of profile and command line.
    """
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
        raise StudyError(problems)
    return given | _normal(over)


def _profile(cluster: str) -> dict[str, Any]:
    from studies.engine.launchers.slurm import profile

    return profile.load(cluster)


def _slurm_problems(over: dict[str, Any]) -> list[Problem]:
    from studies.engine.launchers.slurm import options as _slurm_options

    found: list[Any] = []
    _slurm_options.read(over, found)
    return [Problem("--launch", m.text, ".".join(map(str, m.path))) for m in found]


def _normal(given: Mapping[str, Any]) -> dict[str, Any]:
    """Spell every option with underscores, so that later ones override earlier ones."""
    return {key.replace("-", "_"): value for key, value in given.items()}
