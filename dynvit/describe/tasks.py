"""Tasks as JSON: the schema of the config, the revision, what `--smoke` sets, and which questions a task answers."""

from __future__ import annotations

import dataclasses
import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, get_type_hints

import dynvit.tasks
from dynvit.config.extensions import METRICS
from dynvit.describe.docs import first_paragraph
from dynvit.describe.json_schema import dataclass_schema, further_field, plain

QUESTIONS = ("cautions", "work", "weigh", "inspect", "smoke")
"""Functions that a task may define for planning."""


def task_module(name: str) -> ModuleType:
    """Return the module of a task."""
    return import_module(f"dynvit.tasks.{name}")


def describe_tasks() -> dict[str, Any]:
    """Return the description of every module of `dynvit.tasks` that has a config and a `run`."""
    names = [module.name for module in pkgutil.iter_modules(dynvit.tasks.__path__) if module.name[0] != "_"]
    modules = {name: task_module(name) for name in sorted(names)}
    return {name: _describe(m) for name, m in modules.items() if hasattr(m, "Config") and hasattr(m, "run")}


def _describe(module: ModuleType) -> dict[str, Any]:
    return {
        "description": first_paragraph(module),
        "revision": module.REVISION,
        "smoke": plain(module.SMOKE),
        "metrics": _metrics(module),
        "headline": _headline(module),
        "answers": [name for name in QUESTIONS if callable(getattr(module, name, None))],
        "config": dataclass_schema(module.Config),
    }


def _metrics(module: ModuleType) -> dict[str, list[str]]:
    """Return what a task's trials have, by place; with evaluations, own metrics too."""
    found: dict[str, list[str]] = plain(getattr(module, "METRICS", {}))
    if "best" not in found:
        return found
    curves = [f"{split}.{name}" for split in ("val", "choose", "source.val", "source.choose") for name in METRICS]
    own = {"best": list(METRICS), "last": list(METRICS), "events": curves}
    return {place: [*names, *own.get(place, ())] for place, names in found.items()}


def _headline(module: ModuleType) -> dict[str, dict[str, str]]:
    """Return the metrics of a study that names none; with evaluations, own metrics too."""
    found: dict[str, dict[str, str]] = plain(getattr(module, "HEADLINE", {}))
    if "last" not in getattr(module, "METRICS", {}):
        return found
    own = {name: {"from": "last", "direction": one.direction, "unit": one.unit} for name, one in METRICS.items()}
    return {**found, **own}


def build_config(cls: type, values: dict[str, Any]) -> tuple[Any, list[str]]:
    """Return the config of a resolved mapping (values have the types of their fields), or None and what is refused."""
    refusals: list[str] = []
    return _build(cls, values, "", refusals), refusals


def _build(cls: type, values: dict[str, Any], key: str, refusals: list[str]) -> Any:
    arguments, before = {}, len(refusals)
    for name, (argument, kind, _) in _fields(cls).items():
        if name in values:
            value = values[name]
            if dataclasses.is_dataclass(kind) and isinstance(value, dict):
                value = _build(kind, value, f"{key}.{name}" if key else name, refusals)
            arguments[argument] = tuple(value) if isinstance(value, list) else value
    if len(refusals) > before:
        return None
    if further := further_field(cls):
        arguments[further] = {name: value for name, value in values.items() if name not in _fields(cls)}
    try:
        return cls(**arguments)
    except (ValueError, TypeError) as error:
        refusals.append(f"{key}: {error}" if key else str(error))
        return None


def model_keys(cls: type) -> list[str]:
    """Return the dotted keys of a config that hold a model's name and options."""
    found = []
    for name, (_, kind, metadata) in _fields(cls).items():
        if metadata.get("kind") == "model":
            found.append(name)
        elif dataclasses.is_dataclass(kind):
            found.extend(f"{name}.{key}" for key in model_keys(kind))
    return found


@cache
def _fields(cls: type) -> dict[str, tuple[str, Any, Mapping[str, Any]]]:
    """Return by config key: the field's name, type and metadata."""
    hints = get_type_hints(cls)
    fields = [field for field in dataclasses.fields(cls) if field.init and field.metadata.get("kind") != "further"]
    return {field.metadata.get("key", field.name): (field.name, hints[field.name], field.metadata) for field in fields}
