"""Which launcher runs the trials, and with which options.

A cluster profile overrides the study's `resources.launcher`; the command line overrides both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from studies.engine.core.config import get
from studies.engine.core.errors import Problem, StudyError, dotted
from studies.engine.core.suggest import suggest_or_list
from studies.engine.core.trial import Trial
from studies.engine.core.typing_check import Issue, validate
from studies.engine.core.yaml_loader import Document
from studies.engine.jobs.launcher import launcher_names, option_types
from studies.engine.planning.overrides import parse_overrides


def preferred(on: str | None, cluster: str | None, trials: Sequence[Trial]) -> str | None:
    """Return the requested launcher: by name, by a cluster profile, or by the study's resources; None: no request."""
    if on and on not in launcher_names():
        raise StudyError([Problem("--on", f"no launcher {on}{suggest_or_list(on, launcher_names())}")])
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
    pairs = parse_overrides(typed, problems, "--launch", f"launcher.{name}.")
    over = _normal(dict(pairs))
    problems += [Problem("--launch", i.text, dotted(i.path)) for i in _issues(name, dict(pairs))]
    keys = [key.replace("-", "_") for key, _ in pairs]
    problems += [Problem("--launch", "given twice", key) for i, key in enumerate(keys) if key in keys[:i]]
    if name == "slurm" and cluster:
        from studies.engine.launchers.slurm.profile import load_profile

        try:
            given |= _normal(load_profile(cluster))
        except StudyError as error:
            problems.extend(error.problems)
    if problems:
        raise StudyError(problems)
    return given | over


def _issues(launcher: str, given: Mapping[str, Any], path: tuple[str, ...] = ()) -> list[Issue]:
    issues: list[Issue] = []
    if launcher == "slurm":
        from studies.engine.launchers.slurm.options import read_options

        read_options(given, issues, path)
        return issues
    known = option_types(launcher) if given else {}
    for key, value in given.items():
        name = key.replace("-", "_")
        if name != key and name in given:
            issues.append(Issue((*path, key), f"{name} twice, with dashes and with underscores", at_key=True))
        elif name in known:
            if isinstance(found := validate(known[name], value, issues, (*path, key)), int | float) and found < 0:
                issues.append(Issue((*path, key), f"{found} is too little"))
        else:
            which = suggest_or_list(key, known) if known else ": it has none"
            issues.append(Issue((*path, key), f"no option of {launcher}{which}", at_key=True))
    return issues


def _normal(given: Mapping[str, Any]) -> dict[str, Any]:
    """Spell every option with underscores, so that later ones override earlier ones."""
    return {key.replace("-", "_"): value for key, value in given.items()}


def check_document(document: Document) -> Iterator[Problem]:
    """Yield what is wrong with the launchers and their options in a study file, at any scale."""
    study: Any = document.value
    if not isinstance(study, Mapping):
        return
    scales = study.get("scales")
    places: list[tuple[str, ...]] = [("resources", "launcher")]
    places += [("scales", scale, "resources", "launcher") for scale in (scales if isinstance(scales, Mapping) else ())]
    for path in places:
        given = get(study, path)
        for launcher, options in given.items() if isinstance(given, Mapping) else ():
            if launcher not in launcher_names():
                text = f"no launcher {launcher}{suggest_or_list(launcher, launcher_names())}"
                yield document.problem((*path, launcher), text, at_key=True)
            elif isinstance(options, Mapping):
                for issue in _issues(launcher, options, (*path, launcher)):
                    yield document.problem(issue.path, issue.text, issue.at_key)
