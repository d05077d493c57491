"""What the shell offers behind ``studies ...``: studies, runs, trials, axes with their levels.

``eval "$(_STUDIES_COMPLETE=bash_source studies)"`` in ~/.bashrc turns it on (zsh_source, fish_source).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from studies.engine.core.errors import StudyError
from studies.engine.storage import plan_file
from studies.engine.study import study_files

if TYPE_CHECKING:
    from studies.engine.study.model import Study


def studies(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """Return the names of studies, of runs with a label, and the study files of the folder that the word is in."""
    files = [f"./{file}" if begun.startswith("./") else str(file) for file in study_files.beside(f"{begun}x")]
    return _matching([*study_files.names(), *_runs(context), *files], begun)


def runs(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """Return the names of what has been run."""
    return _matching(_runs(context), begun)


def trials_and_runs(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """Return ids of trials, and the names of what has been run."""
    try:
        ids = sorted(name for name in os.listdir(_results(context) / "trials") if not name.startswith("."))
    except OSError:
        ids = []
    return _matching([*_runs(context), *ids], begun)


def axes(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """Return ``axis=level`` of the study on the line, and ``part=name``."""
    study = _study(context)
    if study is None:
        return []
    scale = context.params.get("scale") or study.default_scale
    parts = study.at(scale).parts if scale in study.scaled else ()
    found = [f"part={part.name}" for part in parts] if len(parts) > 1 else []
    found += [f"{axis.name}={level}" for part in parts for axis in part.axes.values() for level in axis.labels]
    return _matching(found, begun)


def scales(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """Return the scales of the study on the line."""
    study = _study(context)
    return _matching(study.scales if study else (), begun)


def _study(context: click.Context) -> Study | None:
    """Return the study on the line as far as it can be understood."""
    from studies.engine.study import parser

    try:
        name = context.params.get("study") or next(iter(context.args), "")  # an option without its value comes before
        return parser.draft(study_files.find(str(name)), thorough=False)[0]
    except (StudyError, OSError):
        return None


def _runs(context: click.Context) -> list[str]:
    return [folder.name for folder in plan_file.folders(_results(context))]


def _results(context: click.Context) -> Path:
    return Path(context.params.get("results") or os.environ.get("DYNVIT_RESULTS") or "results")


def _matching(names: Sequence[str], begun: str) -> list[str]:
    return [name for name in dict.fromkeys(names) if name.startswith(begun)]
