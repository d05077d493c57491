"""Recipes (training settings of a paper) as JSON."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

import yaml

FOLDER = Path(__file__).parents[1] / "recipes"


class _Yaml12(yaml.SafeLoader):
    """YAML 1.2's core types: ``off`` is text, ``5e-4`` a number."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}


for _tag, _pattern in (
    ("null", r"(?:null|Null|NULL|~|)$"),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)$"),
    ("int", r"[-+]?[0-9]+$"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$"),
):
    _Yaml12.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), None)


def describe_recipes() -> dict[str, Any]:
    """Return by name what each recipe file says: title, source, models, settings, theirs, notes."""
    files = sorted(FOLDER.glob("*.yaml"))
    return {file.stem: yaml.load(file.read_text(encoding="utf-8"), _Yaml12) for file in files}
