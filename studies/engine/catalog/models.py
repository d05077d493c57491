"""The options that a model or a token reducer takes, as its class describes them: names, types, defaults. Nothing is
imported here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from studies.engine.catalog import description
from studies.engine.catalog.description import Dynvit
from studies.engine.catalog.json_types import python_type
from studies.engine.core.suggest import suggest, suggest_or_list
from studies.engine.core.typing_check import to_json, validate


@dataclass(frozen=True)
class Option:
    name: str
    kind: Any
    """A type for `conform`; Any where the signature says nothing that JSON has a match for."""
    schema: Mapping[str, Any]
    """JSON Schema, with default, choices and description."""


@dataclass(frozen=True)
class Model:
    name: str
    options: Mapping[str, Option]
    preset: Mapping[str, Any]
    """What the variant sets, over the class's defaults."""
    open: bool
    """Takes any further option (``**kwargs``)."""
    ours: bool

    def defaults(self, without: Sequence[str] = ()) -> dict[str, Any]:
        """Return every option's default value. Empty for timm's models: their presets are not known."""
        if not self.ours:
            return {}
        known = {name: option.schema["default"] for name, option in self.options.items() if "default" in option.schema}
        return {
            name: to_json(validate(self.options[name].kind, value, []))
            for name, value in {**known, **self.preset}.items()
            if name in self.options and name not in without
        }


def model_names(dynvit: Dynvit | None = None) -> list[str]:
    """Return every model of this package and of own code, sorted."""
    return sorted((dynvit or description.current()).description["models"])


def timm_names() -> list[str]:
    """Return timm's own models, sorted."""
    return sorted(description.current().timm["models"])


Kind = Literal["model", "reducer"]


def find(kind: Kind, name: str, dynvit: Dynvit | None = None) -> Model | None:
    """Return the model or the reducer of that name. dynvit: with the own code that may have registered it."""
    return find_model(name, dynvit) if kind == "model" else _find_reducer(dynvit or description.current(), name)


def suggest_name(kind: Kind, name: str, dynvit: Dynvit | None = None) -> str:
    """Return the nearest name that there is, as a question."""
    if kind == "reducer":
        return suggest_or_list(name, sorted((dynvit or description.current()).description["reducers"]))
    return suggest(name, model_names(dynvit)) or suggest(name, timm_names())


def find_model(name: str, dynvit: Dynvit | None = None) -> Model | None:
    """Return the model of that timm name, ours and own ones first; None where there is none."""
    return _find(dynvit or description.current(), name) if name else None


@lru_cache(maxsize=256)
def _find(dynvit: Dynvit, name: str) -> Model | None:
    if name in dynvit.description["models"]:
        return _model(name, dynvit.description, ours=True)
    base = name.partition(".")[0]  # timm's tag of pretrained weights
    return _model(name, dynvit.timm, base) if base in dynvit.timm["models"] else None


@lru_cache(maxsize=256)
def _find_reducer(dynvit: Dynvit, name: str) -> Model | None:
    found = dynvit.description["reducers"].get(name)
    return found and Model(name, _options(found["options"]), {}, open=False, ours=True)


def _model(name: str, found: Mapping[str, Any], entry: str = "", ours: bool = False) -> Model:
    model = found["models"][entry or name]
    schema = found["classes"].get(model["class"], {"options": {}})["options"]
    return Model(name, _options(schema), model["preset"], schema.get("additionalProperties", True), ours)


def _options(schema: Mapping[str, Any]) -> dict[str, Option]:
    return {key: Option(key, python_type(item), item) for key, item in schema.get("properties", {}).items()}
