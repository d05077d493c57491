"""A study's label: what sets a run's results apart from those of the plain study at its default scale."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from studies.engine.core.config import canonical_json, digest
from studies.engine.core.errors import Problem
from studies.engine.core.trial import keeps_text


def make_label(scale: str, smoke: bool, overrides: Iterable[tuple[str, Any]]) -> str:
    """scale (empty for the default one), ``smoke``, ``set-<hash6>``, joined by ``-``."""
    parts = [scale] if scale else []
    if smoke:
        parts.append("smoke")
    if settings := dict(overrides):
        parts.append("set-" + digest(canonical_json(settings))[:6])
    return "-".join(parts)


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
