"""A cluster profile: the launcher options that all studies on one cluster share, as a YAML file.

``--cluster juwels`` reads ``~/.config/dynvit/clusters/juwels.yaml``, ``--cluster ./site.yaml`` that file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from studies.engine.core import yaml_loader
from studies.engine.core.errors import Problem, StudyError
from studies.engine.core.suggest import suggest_or_list
from studies.engine.core.trial import keeps_text
from studies.engine.launchers.slurm import options

SUFFIXES = (".yaml", ".yml")


def profiles_dir() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "dynvit" / "clusters"


def find_profile(name: str) -> Path:
    """Return the profile's file; StudyError if there is none."""
    path = Path(os.path.expanduser(name))
    if path.suffix in SUFFIXES or os.sep in name:
        if os.path.isfile(path):  # False for what is too long to be a name
            return path
        raise StudyError([Problem("--cluster", f"no such file {name}")])
    known = {file.stem: file for file in sorted(profiles_dir().glob("*.y*ml")) if file.suffix in SUFFIXES}
    if name not in known:
        raise StudyError([Problem("--cluster", f"no profile {name} in {profiles_dir()}{suggest_or_list(name, known)}")])
    return known[name]


def load_profile(name: str) -> dict[str, Any]:
    """Return the profile's options, checked; StudyError with every problem and its line."""
    document = yaml_loader.read(find_profile(name), lambda path: keeps_text(("launcher", "slurm", *path)))
    problems = list(document.problems)
    value = {} if document.value is None else document.value
    if isinstance(value, dict):
        found: list[Any] = []
        options.read_options(value, found)
        problems += [document.problem(m.path, m.text, m.at_key) for m in found]
    elif not problems:
        problems.append(document.problem((), "a profile is a mapping of SLURM options, as `partition: gpu`"))
    if problems:
        raise StudyError(problems)
    return dict(value)
