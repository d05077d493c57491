"""The studies that exist, and the one that STUDY on the command line means. No study is opened."""

from __future__ import annotations

from os.path import isfile  # False for what the file system refuses, where Path.is_file raises
from pathlib import Path

from studies.engine.core.errors import Problem, StudyError
from studies.engine.core.suggest import suggest_or_list
from studies.engine.study.settings import NAME

SUFFIXES = (".yaml", ".yml")
PACKAGE = Path(__file__).resolve().parents[2]
"""The folder of the studies that are installed with the package."""


def names(*first: Path) -> dict[str, Path]:
    """Return every study by name; those in the current folder's studies/ take precedence over the package's, and those
    in `first` over both."""
    here = *first, Path("studies").resolve(), PACKAGE
    return {file.stem: file for folder in reversed(here) for file in sorted(folder.glob("*.yaml"))}


def name_of(study: str) -> str:
    """Return the name of the study that STUDY means. StudyError where it can be no name."""
    path = Path(study)
    if path.suffix in SUFFIXES:
        return path.stem
    name = study.partition("@")[0]
    if not NAME.fullmatch(name):
        raise StudyError([_unknown(study)])
    return name


def find(study: str, *first: Path) -> Path:
    """Return the file of STUDY, a name (see `names`) or a path to a YAML file. StudyError where there is none."""
    path = Path(study)
    if path.suffix in SUFFIXES:
        if isfile(path):
            return path
        raise StudyError([Problem(study, "no such file")])
    known = names(*first)
    if study not in known:
        raise StudyError([_unknown(study, *first)])
    return known[study]


def replaces(file: Path) -> Path | None:
    """Return the installed study of the same name, where a file of the current folder's studies/ is used instead."""
    installed = PACKAGE / file.name
    ours = file.resolve().parent == Path("studies").resolve() and installed.is_file()
    return installed if ours and not installed.samefile(file) else None


def _unknown(study: str, *first: Path) -> Problem:
    known = names(*first)
    return Problem("STUDY", f'no study "{study}" in studies/{suggest_or_list(study.rsplit("/", 1)[-1], known)}')
