"""The options of what the imports of a study register: ``studies options STUDY.yaml``, or ``NAME --study STUDY``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from studies.engine.catalog import models
from studies.engine.catalog.description import Dynvit
from studies.engine.catalog.tasks import GIVEN
from studies.engine.cli.option_lists import Option, Topic, model_topic, topic
from studies.engine.cli.options import UsageError
from studies.engine.core.errors import StudyError
from studies.engine.core.suggest import suggest
from studies.engine.study import parser, study_files

KINDS = {"models": "model", "data_sets": "data set", "losses": "loss", "metrics": "metric", "reducers": "reducer"}
"""Parts of dynvit's description, and what each is called."""
SECTIONS = {"models": "model:", "data_sets": "data:", "losses": "loss:", "reducers": "reducer:"}
"""Where the options of each go in a study."""

Entry = Mapping[str, Any]


def find_topic(names: tuple[str, ...], study: str | None) -> Topic:
    """Return what `studies options NAMES --study STUDY` lists. UsageError with the nearest name; StudyError for a study
    that cannot be read, or whose imports cannot be imported."""
    if study is None:
        is_study = len(names) == 1 and Path(names[0]).suffix in study_files.SUFFIXES
        return registered(names[0]) if is_study else topic(names)
    if not names:
        return registered(study)
    file, dynvit = _read(study)
    known = {name: part for part, name, _ in _entries(dynvit)}
    if names[-1] in known:
        return _one(names[-1], known[names[-1]], dynvit)
    try:
        return topic(names)
    except UsageError as error:
        if nearest := suggest(names[-1], known):
            raise UsageError(f"{file} registers no {names[-1]}{nearest}") from error
        raise


def registered(study: str) -> Topic:
    """Return everything that a study's imports register, each with its options behind a dot."""
    file, dynvit = _read(study)
    rows = []
    for part, name, entry in _entries(dynvit):
        rows.append(Option(name, KINDS[part], "", _description(entry, dynvit)))
        rows += [replace(option, name=f"{name}.{option.name}") for option in _options(name, part, dynvit)]
    places = ", ".join(dict.fromkeys(f"`{SECTIONS[part]}`" for part, _, _ in _entries(dynvit) if part in SECTIONS))
    return Topic(f"{file}: what its imports register" + (f"; options go under {places}" if places else ""), rows)


def _read(study: str) -> tuple[Path, Dynvit]:
    """Return the study's file, and dynvit with its own code; whatever else is wrong in the study does not matter."""
    file = study_files.find(study)
    found, problems = parser.draft(file, thorough=False)
    if found is None:
        raise StudyError(problems)
    if found.task.own is None:
        raise UsageError(f"{file} has no own code: `imports: [FILE.py]` names it")
    return file, found.task.dynvit


def _entries(dynvit: Dynvit) -> Iterator[tuple[str, str, Entry]]:
    """Yield part, name and entry of everything that own code has registered."""
    for part in KINDS:
        yield from ((part, name, entry) for name, entry in dynvit.description[part].items() if "from" in entry)


def _one(name: str, part: str, dynvit: Dynvit) -> Topic:
    if part == "models" and (model := models.find_model(name, dynvit)):
        return model_topic(model)
    text = _description(dynvit.description[part][name], dynvit)
    where = f" Options under `{SECTIONS[part]}`" if part in SECTIONS else ""
    return Topic(f"{name}, a {KINDS[part]}: {text}{where}", _options(name, part, dynvit))


def _options(name: str, part: str, dynvit: Dynvit) -> list[Option]:
    if part == "models":
        model = models.find_model(name, dynvit)
        return model_topic(model).options if model else []
    properties = dynvit.description[part][name].get("options", {}).get("properties", {})
    return [Option.of(key, schema) for key, schema in properties.items() if key not in GIVEN]


def _description(entry: Entry, dynvit: Dynvit) -> str:
    described = dynvit.description["classes"].get(entry.get("class", ""), entry)
    return str(described.get("description", ""))
