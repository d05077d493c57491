"""Settings -> a whole config: defaults of the task and of its model, then patch over patch, values of their types."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from studies.engine.catalog import models
from studies.engine.catalog.tasks import ModelField, Task, defaults
from studies.engine.core.trial import Config
from studies.engine.core.typing_check import Misfit, conform, fields, near, plain
from studies.engine.planning.identity import flat
from studies.engine.study import recipes
from studies.engine.study.model import Patch, Setting
from studies.engine.study.settings import patch as settings_of


class Resolver:
    """Resolves the patches of one task; remembers what it has checked, as arms share most of their settings."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.fields: Mapping[str, ModelField] = {field.key: field for field in task.models}
        self.task_defaults = defaults(task.config)
        self.keys = [key for key, _ in flat(self.task_defaults)]
        self._fitted: dict[tuple[int, str], tuple[Any, tuple[Misfit, ...], Setting]] = {}
        self._started: dict[tuple[str, ...], Config] = {}
        known = fields(task.config)
        self.recipe_key = next((key for key, (f, _) in known.items() if f.metadata.get("kind") == "recipe"), "")
        self._recipes: dict[int, tuple[Setting, Patch]] = {}

    # ---- recipes

    def whole(self, patch: Patch) -> Patch:
        """The patch with its recipe's settings below all others; of several recipes the last one counts."""
        told = [s for s in patch if s.key == self.recipe_key] if self.recipe_key else []
        return (*self._of_recipe(told[-1]), *patch) if told else patch

    def _of_recipe(self, told: Setting) -> Patch:
        if id(told) not in self._recipes:
            found: Patch = ()
            if told.value in recipes.names():
                patch = settings_of(recipes.find(told.value).settings, told.where)
                found = tuple(dataclasses.replace(s, where=told.where, named=told.named) for s in patch)
            self._recipes[id(told)] = (told, found)  # kept, so that its id stays its own
        return self._recipes[id(told)][1]

    def _from_recipe(self, patch: Patch) -> tuple[Setting | None, int]:
        """The setting that names the recipe, and how many settings it brings."""
        told = [s for s in patch if s.key == self.recipe_key] if self.recipe_key else []
        return (told[-1], len(self._of_recipe(told[-1]))) if told else (None, 0)

    # ---- whole configs

    def config(self, patch: Patch) -> Config:
        """The resolved config; what does not fit is left as it is (`misfits` says it)."""
        names = self.model_names(patch)
        config = _copy(self.defaults(names))
        for setting in self.whole(patch):
            value, _ = self.fit(setting, self.model_of(setting.key, names))
            _put(config, setting.key.split("."), value)
        return config

    def defaults(self, names: Mapping[str, str]) -> Config:
        """The config when only the models are named."""
        key = tuple(names.values())
        if key not in self._started:
            config = _copy(self.task_defaults)
            for field_key, name in names.items():
                _put(config, field_key.split("."), self._model_defaults(self.fields[field_key], name), whole=True)
            self._started[key] = config
        return self._started[key]

    def _model_defaults(self, field: ModelField, name: str) -> dict[str, Any]:
        told: dict[str, Any] = _get(self.task_defaults, field.key)
        model = models.find_model(name)
        own = model.defaults(field.given) if model else {}
        kept = told if told.get("name", name) == name else {}  # options of another model mean nothing here
        return {"name": name, **own, **kept}

    def model_names(self, patch: Patch) -> dict[str, str]:
        """Config key of each model field -> the model's name there."""
        names, patch = {}, self.whole(patch)
        for key in self.fields:
            told = [s.value for s in patch if s.key == f"{key}.name" and isinstance(s.value, str)]
            names[key] = told[-1] if told else str(_get(self.task_defaults, key).get("name", ""))
        return names

    def model_of(self, key: str, names: Mapping[str, str]) -> str:
        return next((name for field, name in names.items() if key.startswith(f"{field}.")), "")

    # ---- one setting

    def misfits(self, patch: Patch) -> Iterable[tuple[Setting, Misfit]]:
        """Every setting that the task or its model does not take."""
        names = self.model_names(patch)
        told, count = self._from_recipe(patch)
        for i, setting in enumerate(self.whole(patch)):
            for misfit in self.fit(setting, self.model_of(setting.key, names))[1]:
                if told is not None and i < count:  # said where the recipe was asked for
                    yield told, Misfit((), f"recipe {told.value} sets {setting.key}: {misfit.text}")
                else:
                    yield setting, misfit

    def fit(self, setting: Setting, model: str) -> tuple[Any, tuple[Misfit, ...]]:
        """The value as its key's type has it, and what is wrong (paths count from the value)."""
        key = (id(setting), model)
        if key not in self._fitted:
            found: list[Misfit] = []
            value = self._fit(setting, model, found)
            self._fitted[key] = (
                plain(value),
                tuple(found),
                setting,
            )  # kept, so that its id stays its own
        value, misfits, _ = self._fitted[key]
        return value, misfits

    def _fit(self, setting: Setting, model: str, found: list[Misfit]) -> Any:
        kind: Any = self.task.config
        steps = setting.key.split(".")
        for i, step in enumerate(steps):
            here = ".".join(steps[:i])
            if here in self.fields:
                return self._fit_option(setting, self.fields[here], steps[i:], model, found)
            if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
                if kind is Any or isinstance(_get(self.task_defaults, here), Mapping):
                    return setting.value  # inside a free mapping
                found.append(Misfit((), f"{here} is a value, it has no {step}", at_key=True))
                return setting.value
            known = fields(kind)
            if step not in known:
                hint = near(setting.key, self.keys) or near(step, known)
                found.append(Misfit((), f"the task {self.task.name} has no {setting.key}{hint}", at_key=True))
                return setting.value
            kind = known[step][1]
        if setting.key == self.recipe_key and setting.value and setting.value not in recipes.names():
            found.append(Misfit((), f"no recipe {setting.value}{_nearest(str(setting.value))}"))
        return conform(kind, setting.value, found)

    def _fit_option(self, setting: Setting, field: ModelField, steps: list[str], name: str, found: list[Misfit]) -> Any:
        option = steps[0]
        if option == "name":
            if setting.value == _get(self.task_defaults, field.key).get("name"):
                return setting.value  # the task's own choice, which may be none at all
            if not isinstance(setting.value, str) or models.find_model(setting.value) is None:
                found.append(Misfit((), _no_model(setting.value)))
            return setting.value
        if option in field.given:
            found.append(Misfit((), f"{option} is set by the task {self.task.name} itself", at_key=True))
            return setting.value
        model = models.find_model(name)
        if model is None:  # said where the name stands
            return setting.value
        if option not in model.options:
            if not model.open:
                hint = near(option, [o for o in model.options if o not in field.given])
                hint = hint.replace('"', f'"{field.key}.', 1)  # the prefix they share would make strangers alike
                found.append(Misfit((), f"{name} has no option {option}{hint}", at_key=True))
            return setting.value
        return conform(model.options[option].kind, setting.value, found)


def _no_model(name: Any) -> str:
    return f"no model {name}" + (near(str(name), models.model_names()) or near(str(name), models.timm_names()))


def _nearest(name: str) -> str:
    return near(name, recipes.names()) or f", there are {', '.join(recipes.names())}"


def _copy(config: Config) -> Config:
    return {key: _copy(value) if isinstance(value, dict) else value for key, value in config.items()}


def _get(config: Mapping[str, Any], key: str) -> Any:
    value: Any = config
    for step in key.split("."):
        value = value.get(step, {}) if isinstance(value, Mapping) else {}
    return value


def _put(config: Config, steps: list[str], value: Any, whole: bool = False) -> None:
    """Set a nested key; an empty mapping over a mapping changes nothing, unless it is to replace it."""
    for step in steps[:-1]:
        inner = config.get(step)
        if not isinstance(inner, dict):
            inner = config[step] = {}
        config = inner
    last = steps[-1]
    if whole or not (value == {} and isinstance(config.get(last), dict)):
        config[last] = value
