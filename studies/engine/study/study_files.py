"""The studies that exist, and the one that STUDY on the command line means. No study is opened."""

from __future__ import annotations

from os.path import isdir, isfile  # False for what the file system refuses, where Path.is_file raises
from pathlib import Path

from studies.engine.core.errors import Problem, StudyError
from studies.engine.core.suggest import suggest, suggest_or_list
from studies.engine.study.settings import NAME

SUFFIXES = (".yaml", ".yml")
PACKAGE = Path(__file__).resolve().parents[2]
"""The folder of the shipped studies."""
TABLES = ".tables.yaml"
"""The end of a study's table file, beside it."""


def names(*first: Path) -> dict[str, Path]:
    """Return every study by name; those in the current folder's studies/ take precedence over the package's, and those
    in `first` over both."""
    here = *first, Path("studies").resolve(), PACKAGE
    files = (file for folder in reversed(here) for file in sorted(folder.glob("*.yaml")))
    return {file.stem: file for file in files if not file.name.endswith(TABLES)}


def hidden(study: str) -> str:
    """Return in one line which study of the package an own one of the same name hides; empty where none is."""
    own = names().get(study)
    if own is None or own.parent == PACKAGE or not (PACKAGE / f"{study}.yaml").is_file():
        return ""
    return f"{study} is {own}, which hides the package's study of that name"


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
        if isdir(path):
            raise StudyError([Problem(study, "a folder, not a study file")])
        raise StudyError([Problem(study, f"no such file{suggest(path.name, [file.name for file in beside(study)])}")])
    known = names(*first)
    if study not in known:
        raise StudyError([_unknown(study, *first)])
    return known[study]


def beside(begun: str) -> list[Path]:
    """Return the YAML files, but for table files, in the folder of a path that is begun or wrong."""
    files = (file for suffix in SUFFIXES for file in sorted(Path(begun).parent.glob(f"*{suffix}")))
    return [file for file in files if isfile(file) and not file.name.endswith(TABLES)]


def _unknown(study: str, *first: Path) -> Problem:
    known, name = names(*first), study.rsplit("/", 1)[-1]
    near = suggest(name, [*known, *(file.stem for file in beside(study))]) or suggest_or_list(name, known)
    for file in beside(study):  # what lies outside studies/ is named by its path
        near = near if file.stem in known else near.replace(f'"{file.stem}"', f'"{file}"')
    return Problem("STUDY", f'no study "{study}" in studies/{near}')
