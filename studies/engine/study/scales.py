"""What a scale changes in a study: settings, seeds, looks, resources, and in each part settings, levels and design."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from studies.engine.core.config import split
from studies.engine.study.parts import KeyPath, Patch
from studies.engine.study.schema import BlockSpec, LevelsSpec, ScalePartSpec, ScaleSpec
from studies.engine.study.settings import patch

SCALE_KEYS = ("seeds", "decide", "resources", "parts", "axes")
"""What a scale holds besides settings."""

Coerce = Callable[[Any, Any, KeyPath], Any]
"""(type, value, path) -> the value as that type; problems are reported."""


@dataclass(frozen=True)
class PartOverride:
    """What a scale changes in one part: settings, levels, design, and where they are written."""

    path: KeyPath = ()
    patch: Patch = ()
    axes: Mapping[str, LevelsSpec] = field(default_factory=dict)
    design: Sequence[BlockSpec] | None = None
    skip: bool = False


def scale_spec(coerce: Coerce, scale: str, mapping: Mapping[str, Any]) -> tuple[ScaleSpec, Patch]:
    """Return a scale's reserved keys, and its settings."""
    path = ("scales", scale)
    reserved, settings = split(mapping, SCALE_KEYS)
    return coerce(ScaleSpec, reserved, path) or ScaleSpec(), patch(settings, path)


def part_override(coerce: Coerce, scale: str, part: str, spec: ScaleSpec) -> PartOverride:
    """Return what a scale says about one part of a study that has parts."""
    path = ("scales", scale, "parts", part)
    reserved, settings = split(spec.parts.get(part, {}), ("axes", "design", "skip"))
    found = coerce(ScalePartSpec, reserved, path) or ScalePartSpec()
    return PartOverride(path, patch(settings, path), found.axes, found.design, found.skip)
