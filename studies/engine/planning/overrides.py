"""A study's label: what sets a run's results apart from those of the plain study at its default scale."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from studies.engine.core.config import canonical_json, digest
from studies.engine.core.errors import Problem, StudyError
from studies.engine.core.trial import keeps_text


def make_label(scale: str, smoke: bool, overrides: Iterable[tuple[str, Any]]) -> str:
    """scale (empty for the default one), ``smoke``, ``set-<hash6>``, joined by ``-``."""
    parts = [scale] if scale else []
    if smoke:
        parts.append("smoke")
    if settings := dict(overrides):
        parts.append("set-" + digest(canonical_json(settings))[:6])
    return "-".join(parts)


def parse_override(text: str, option: str = "--set", prefix: str = "") -> tuple[str, Any]:
    """``train.epochs=20`` -> its key and value, read as YAML. prefix: where a study file would have the key."""
    from studies.engine.core.yaml_loader import parse_value

    key, sign, value = text.partition("=")
    key = key.strip()
    if not sign or not key:
        raise StudyError([Problem(option, f'"{text}" is not KEY=VALUE')])
    try:
        return key, parse_value(value, prefix + key, keeps_text)
    except ValueError as error:
        raise StudyError([Problem(option, f"{value}: {error}", key)]) from error
