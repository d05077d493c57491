"""Recipes: how a paper trains, as settings that stand below everything a study says itself.

One file each, `dynvit/recipes/NAME.yaml`: what it follows and where that is written, our settings, and theirs where
ours are not literally the same. A study takes one with `recipe: NAME` wherever it has settings, the command line with
`--set recipe=NAME`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from studies.engine.core import yaml_loader
from studies.engine.core.config import flat
from studies.engine.core.errors import StudyError
from studies.engine.core.trial import Config
from studies.engine.core.typing_check import Issue, validate

Settings = dict[str, Any]


@dataclass(frozen=True)
class Recipe:
    """A recipe file."""

    title: str
    source: list[str]
    """Where the settings are written: papers, files of the authors' code."""
    models: str
    """Which models it is made for, in words."""
    settings: Settings
    theirs: dict[str, str | int | float | bool | None] = field(default_factory=dict)
    """By dotted key: the source's value where ours is another or stands for it in other words. A key that is no option
    of ours names a setting we do not have."""
    notes: list[str] = field(default_factory=list)

    def flat(self) -> dict[str, Any]:
        """Dotted key -> value."""
        return dict(flat(self.settings))


def folder() -> Path | None:
    """dynvit/recipes, found without importing dynvit."""
    spec = find_spec("dynvit")
    places = spec.submodule_search_locations if spec else None
    return Path(next(iter(places))) / "recipes" if places else None


def names() -> list[str]:
    there = folder()
    return sorted(file.stem for file in there.glob("*.yaml")) if there else []


def find(name: str) -> Recipe:
    """StudyError with every problem of the file; KeyError where there is none of that name."""
    there = folder()
    if there is None or name not in names():
        raise KeyError(name)
    file = there / f"{name}.yaml"
    return _read(file, file.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _read(file: Path, version: int) -> Recipe:
    document = yaml_loader.read(file)
    found: list[Issue] = []
    recipe = validate(Recipe, document.value, found)
    problems = [*document.problems, *(document.problem(m.path, m.text, m.at_key) for m in found)]
    if problems:
        raise StudyError(problems)
    fitted: Recipe = recipe
    return fitted


def overridden(config: Config, name: str) -> list[str]:
    """``key value`` of the recipe's settings that a config has otherwise."""
    now = dict(flat(config))
    return [f"{key} {_show(now[key])}" for key, value in find(name).flat().items() if key in now and now[key] != value]


# ---- ours beside theirs


def rows(recipe: Recipe) -> Iterator[tuple[str, str, str]]:
    """Setting, ours, the source's."""
    ours = recipe.flat()
    for key, value in ours.items():
        yield key, _show(value), _show(recipe.theirs[key]) if key in recipe.theirs else "the same"
    for key, value in recipe.theirs.items():
        if key not in ours:
            yield key, "-", _show(value)


def markdown(name: str) -> str:
    """A section: what the recipe follows, and its table."""
    recipe = find(name)
    lines = [f"## {name}: {recipe.title}", "", f"For {recipe.models}. Source: {'; '.join(recipe.source)}.", ""]
    lines += _table([("setting", "ours", "source"), *rows(recipe)])
    lines += [line for note in recipe.notes for line in ("", note)]
    return "\n".join(lines) + "\n"


def _table(table: Iterable[tuple[str, ...]]) -> list[str]:
    first, *rest = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table]
    return [first, "|---|---|---|", *rest]


def _show(value: Any) -> str:
    if isinstance(value, str):
        return value or "none"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return "none" if not value else json.dumps(value)
    return json.dumps(value)
