"""What a scale lays over a study: settings, seeds, resources, and over each part settings and levels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from studies.engine.study import settings
from studies.engine.study.model import Patch
from studies.engine.study.schema import LevelsText, ScalePartText, ScaleText
from studies.engine.study.settings import KeyPath, patch

if TYPE_CHECKING:
    from studies.engine.study.part_parser import Reader

SCALE_KEYS = ("seeds", "resources", "parts", "axes")
"""What a scale holds besides settings."""


class ScaleOver:
    """What a scale lays over one part: settings and levels, and where they stand."""

    def __init__(self, where: KeyPath = (), patch: Patch = (), axes: Mapping[str, LevelsText] | None = None) -> None:
        self.where, self.patch, self.axes = where, patch, axes or {}


def scale_text(reader: Reader, scale: str, mapping: Mapping[str, Any]) -> tuple[ScaleText, Patch]:
    """A scale's reserved keys, and its settings."""
    reserved, rest = settings.split(mapping, SCALE_KEYS)
    text = reader.fit(ScaleText, reserved, ("scales", scale)) or ScaleText()
    return text, patch(rest, ("scales", scale))


def scale_over(reader: Reader, scale: str, part: str, text: ScaleText, whole: bool) -> ScaleOver:
    """What the scale says about one part; `whole` where the study has no parts and its scales speak of it directly."""
    if whole:
        return ScaleOver(("scales", scale), (), text.axes)
    where = ("scales", scale, "parts", part)
    reserved, rest = settings.split(text.parts.get(part, {}), ("axes",))
    fitted = reader.fit(ScalePartText, reserved, where) or ScalePartText()
    return ScaleOver(where, patch(rest, where), fitted.axes)
