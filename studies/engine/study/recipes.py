"""Recipes: how a paper trains, as settings below everything that a study sets itself.

One file each, `dynvit/recipes/NAME.yaml`: what it follows and where that is written, our settings, and the source's
where ours are not literally the same. A study takes one with `recipe: NAME` wherever it has settings, the command line
with `--set recipe=NAME`.
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
    """By dotted key: the source's value where ours differs, or expresses it in another way. A key that is no option of
    ours names a setting that we do not have."""
    notes: list[str] = field(default_factory=list)

    def flat(self) -> dict[str, Any]:
        """Return the settings by dotted key."""
        return dict(flat(self.settings))


def folder() -> Path | None:
    """Return dynvit/recipes, found without importing dynvit."""
    spec = find_spec("dynvit")
    locations = spec.submodule_search_locations if spec else None
    return Path(next(iter(locations))) / "recipes" if locations else None


def names() -> list[str]:
    found = folder()
    return sorted(file.stem for file in found.glob("*.yaml")) if found else []


def find(name: str) -> Recipe:
    """Return a recipe. KeyError for an unknown name; StudyError with every problem of its file."""
    parent = folder()
    if parent is None or name not in names():
        raise KeyError(name)
    file = parent / f"{name}.yaml"
    return _read(file, file.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _read(file: Path, version: int) -> Recipe:
    document = yaml_loader.read(file)
    issues: list[Issue] = []
    recipe: Recipe = validate(Recipe, document.value, issues)
    problems = [*document.problems, *(document.problem(i.path, i.text, i.at_key) for i in issues)]
    if problems:
        raise StudyError(problems)
    return recipe


def overridden(config: Config, name: str) -> list[str]:
    """Return ``key value`` for each of the recipe's settings to which a config gives another value."""
    now = dict(flat(config))
    return [f"{key} {_show(now[key])}" for key, value in find(name).flat().items() if key in now and now[key] != value]


# ---- ours next to theirs


def rows(recipe: Recipe) -> Iterator[tuple[str, str, str]]:
    """Yield setting, our value, the source's value."""
    ours = recipe.flat()
    for key, value in ours.items():
        yield key, _show(value), _show(recipe.theirs[key]) if key in recipe.theirs else "the same"
    for key, value in recipe.theirs.items():
        if key not in ours:
            yield key, "-", _show(value)


def markdown(name: str) -> str:
    """Return a section of docs/recipes.md: what the recipe follows, and its table."""
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
