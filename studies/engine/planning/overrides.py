"""A study's label: what sets a run's results apart from those of the plain study at its default scale."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from studies.engine.core.config import canonical_json, digest
from studies.engine.core.errors import Problem
from studies.engine.core.trial import keeps_text

LONGEST = 48
"""Letters of the settings in a label; longer ones, and values that are no plain words, are a hash."""
_PLAIN = re.compile(r"[\w.+-]+")


def make_label(scale: str, smoke: bool, overrides: Iterable[tuple[str, Any]]) -> str:
    """scale (empty for the default one), ``smoke``, ``train.epochs=20,train.lr=0.1``, joined by ``-``."""
    return "-".join([*_before(scale, smoke), *filter(None, [_settings(dict(overrides))])])


def hashed_label(scale: str, smoke: bool, overrides: Iterable[tuple[str, Any]]) -> str:
    """Return the label that ended in ``set-<hash6>`` whatever was set: folders of earlier versions are called so."""
    settings = dict(overrides)
    return "-".join([*_before(scale, smoke), *([_hash(settings)] if settings else [])])


def _before(scale: str, smoke: bool) -> list[str]:
    return [*([scale] if scale else []), *(["smoke"] if smoke else [])]


def _hash(settings: Mapping[str, Any]) -> str:
    return "set-" + digest(canonical_json(settings))[:6]


def _settings(settings: Mapping[str, Any]) -> str:
    """Return settings as a part of a folder's name. A text that looks like a number or a truth value is hashed, as it
    would be called like that."""
    if not settings:
        return ""
    from studies.engine.core.yaml_loader import scalar  # only where there is something to read

    texts = override_texts(settings.items())
    text = ",".join(sorted(texts))
    words = [value for value in settings.values() if isinstance(value, str)]
    plain = all(_PLAIN.fullmatch(one.partition("=")[2]) for one in texts) and all(
        scalar(word) == word for word in words
    )
    return text if plain and len(text) <= LONGEST else _hash(settings)


def override_texts(overrides: Iterable[tuple[str, Any]]) -> tuple[str, ...]:
    """Return each override as it is typed: ``train.epochs=20``."""
    return tuple(f"{key}={value if isinstance(value, str) else canonical_json(value)}" for key, value in overrides)


def parse_overrides(
    texts: Iterable[str], problems: list[Problem], option: str = "--set", prefix: str = ""
) -> list[tuple[str, Any]]:
    """Return key and value, read as YAML, of each ``train.epochs=20``; what is none of that kind is a problem.

    prefix: where a study file would have the keys.
    """
    found = []
    for text in texts:
        from studies.engine.core.yaml_loader import parse_value  # only where there is something to read

        key, sign, value = text.partition("=")
        key = key.strip()
        if not sign or not key:
            problems.append(Problem(option, f'"{text}" is not KEY=VALUE'))
            continue
        try:
            found.append((key, parse_value(value, prefix + key, keeps_text)))
        except ValueError as error:
            problems.append(Problem(option, f"{value}: {error}", key))
    return found
