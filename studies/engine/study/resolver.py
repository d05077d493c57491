"""Settings -> a whole config: defaults of the task and of its model, then setting after setting, values typed."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from studies.engine.catalog import models
from studies.engine.catalog.tasks import ModelField, Task, defaults
from studies.engine.core import config as configs
from studies.engine.core.config import flat
from studies.engine.core.secrets import hide_secrets
from studies.engine.core.suggest import suggest, suggest_or_list
from studies.engine.core.trial import Config, is_reference
from studies.engine.core.typing_check import Issue, fields, to_json, validate
from studies.engine.study import recipes
from studies.engine.study.extension_options import ExtensionOptions
from studies.engine.study.parts import Patch, Setting
from studies.engine.study.settings import label_of
from studies.engine.study.settings import patch as settings_of


class SettingIssue(NamedTuple):
    """A setting that the task or its model does not take. The issue's path counts from the setting's value."""

    setting: Setting
    issue: Issue


class Resolution(NamedTuple):
    config: Config
    """What is not valid is left as it was given."""
    defaults: Config
    """The config when only the models are named."""
    issues: tuple[SettingIssue, ...]
    references: Mapping[str, Setting]
    """Settings that name another trial as the origin of weights, by key."""


class Resolver:
    """Resolves the settings of one task's arms. Keeps what it has checked, as arms share most of their settings."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.fields: Mapping[str, ModelField] = {field.key: field for field in task.models}
        self.task_defaults = defaults(task.config)
        self.weights, self.added = task.weights, task.added
        self._extensions = ExtensionOptions(task, self.task_defaults)
        self.keys = [key for key, _ in flat(self.task_defaults)]
        known = fields(task.config)
        self.recipe_key = next((key for key, (f, _) in known.items() if f.metadata.get("kind") == "recipe"), "")
        self._coerced: dict[tuple[Setting, str], tuple[Any, tuple[Issue, ...]]] = {}
        self._defaults: dict[tuple[str, ...], Config] = {}
        self._recipes: dict[Setting, Patch] = {}

    def names(self, patch: Patch) -> dict[str, str]:
        """Return the model's or reducer's name for the key of each field that holds one."""
        return self._names(self._with_recipe(patch)[1])

    def options_only(self, patch: Patch) -> bool:
        """Return whether every setting is an option of a model or reducer."""
        return all(self._field_of(setting) and not setting.key.endswith(".name") for setting in patch)

    def takes(self, setting: Setting, names: Mapping[str, str]) -> bool:
        """Return whether the model or reducer has the option; True where its name is unknown, which is reported."""
        key = self._field_of(setting)
        found = self._find(key, names[key])
        if found is None:
            return bool(names[key])
        return found.open or setting.key.removeprefix(f"{key}.").split(".")[0] in found.options

    def _find(self, key: str, name: str) -> models.Model | None:
        return models.find(self.fields[key].kind, name, self.task.dynvit)

    def _field_of(self, setting: Setting) -> str:
        return next((key for key in self.fields if setting.key.startswith(f"{key}.")), "")

    def resolve(self, patch: Patch) -> Resolution:
        """Return the whole config of a patch, later settings over earlier ones, and every setting that is not valid."""
        patch = _with_whole(patch, self.weights)
        recipe, settings = self._with_recipe(patch)
        names, chosen = self._names(settings), self._extensions.names(settings)
        config = configs.copy(self._defaults_of(names))
        for key, name in names.items():
            configs.put(config, f"{key}.name", name)
        issues: list[SettingIssue] = []
        references: dict[str, Setting] = {}
        for i, setting in enumerate(settings):
            references.pop(setting.key, None)
            if setting.key in self.weights and isinstance(setting.value, Mapping) and setting.value:
                references[setting.key] = setting
                configs.put(config, setting.key, _placeholder(setting.value))
                continue
            value, found = self._coerce(setting, names | chosen)
            configs.put(config, setting.key, value)
            for issue in found:
                if recipe is not None and i < len(settings) - len(patch):  # reported where the recipe is named
                    text = f"recipe {recipe.value} sets {setting.key}: {issue.text}"
                    issues.append(SettingIssue(recipe, Issue((), text)))
                else:
                    issues.append(SettingIssue(setting, issue))
        for key, field in self.fields.items():  # older trials' configs have neither of these keys
            if field.kind == "reducer" and not names[key]:
                config.pop(key, None)
        default = self._defaults_of(names)
        for key in (*self.added, *self._added_options(names)):
            *outer, last = key.split(".")
            place: Any = configs.get(config, outer)
            if isinstance(place, dict) and place.get(last) == configs.get(default, key):
                del place[last]
        return Resolution(config, default, tuple(issues), references)

    # ---- recipes and defaults

    def _with_recipe(self, patch: Patch) -> tuple[Setting | None, Patch]:
        """Return the setting that names the recipe, and the patch with that recipe's settings below all others."""
        named = [s for s in patch if s.key == self.recipe_key] if self.recipe_key else []
        if not named:
            return None, patch
        recipe = named[-1]
        if recipe not in self._recipes:
            found = settings_of(recipes.find(recipe.value).settings, recipe.path) if _is_recipe(recipe.value) else ()
            self._recipes[recipe] = tuple(
                dataclasses.replace(s, path=recipe.path, key_path=recipe.key_path) for s in found
            )
        return recipe, (*self._recipes[recipe], *patch)

    def _names(self, settings: Patch) -> dict[str, str]:
        names = {}
        for key in self.fields:
            given = [s.value for s in settings if s.key in (f"{key}.name", key) and isinstance(s.value, str)]
            names[key] = given[-1] if given else str(configs.get(self.task_defaults, key).get("name", ""))
        return names

    def _added_options(self, names: Mapping[str, str]) -> Iterator[str]:
        """Return the keys of options that resolved configs have only where they are not at their default."""
        for key, name in names.items():
            found = self._find(key, name)
            options = found.options if found else {}
            yield from (f"{key}.{n}" for n, option in options.items() if option.schema.get("x-kind") == "added")

    def _defaults_of(self, names: Mapping[str, str]) -> Config:
        key = tuple(names.values())
        if key not in self._defaults:
            config = configs.copy(self.task_defaults)
            for field_key, name in names.items():
                configs.put(config, field_key, self._model_defaults(self.fields[field_key], name), replace=True)
            self._defaults[key] = config
        return self._defaults[key]

    def _model_defaults(self, field: ModelField, name: str) -> dict[str, Any]:
        task_own: dict[str, Any] = configs.get(self.task_defaults, field.key)
        model = self._find(field.key, name)
        own = model.defaults(field.given) if model else {}
        if field.kind == "reducer":  # without the name, which no trial without a reducer has
            return own
        kept = task_own if task_own.get("name", name) == name else {}  # options of another model mean nothing here
        return {"name": name, **own, **kept}

    # ---- one setting

    def _coerce(self, setting: Setting, names: Mapping[str, str]) -> tuple[Any, tuple[Issue, ...]]:
        """Return the value as its key's type has it, and what is wrong with it."""
        model = next((name for field, name in names.items() if setting.key.startswith(f"{field}.")), "")
        if (setting, model) not in self._coerced:
            issues: list[Issue] = []
            value = self._coerce_value(setting, model, issues)
            self._coerced[setting, model] = to_json(value), self._extensions.hinted(setting, issues, names)
        return self._coerced[setting, model]

    def _coerce_value(self, setting: Setting, model: str, issues: list[Issue]) -> Any:
        if isinstance(setting.value, str) and hide_secrets(setting.value) != setting.value:
            issues.append(Issue((), "an address with a password or token: a trial's config is stored and exported"))
        kind: Any = self.task.config
        steps = setting.key.split(".")
        for i, step in enumerate(steps):
            outer = ".".join(steps[:i])
            if outer in self.fields:
                return self._coerce_option(setting, self.fields[outer], step, model, issues)
            if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
                if kind is not Any and not isinstance(configs.get(self.task_defaults, outer), Mapping):
                    issues.append(Issue((), f"{outer} is a value, it has no {step}", at_key=True))
                return self._extensions.coerce(setting, model, issues)  # else inside a free mapping
            known = fields(kind)
            if step not in known and self._extensions.registers(outer, model):
                return self._extensions.coerce(setting, model, issues)
            if step not in known:
                nearest = suggest(setting.key, self.keys) or suggest(step, known)
                issues.append(Issue((), f"the task {self.task.name} has no {setting.key}{nearest}", at_key=True))
                return setting.value
            kind = known[step][1]
        if setting.key in self.weights and is_reference(setting.value):
            issues.append(Issue((), "name the arm whose weights are wanted: {part: PART, AXIS: LEVEL}"))
        if setting.key == self.recipe_key and setting.value and not _is_recipe(setting.value):
            nearest = suggest_or_list(str(setting.value), recipes.names())
            issues.append(Issue((), f"no recipe {setting.value}{nearest}"))
        return validate(kind, setting.value, issues)

    def _coerce_option(self, setting: Setting, field: ModelField, option: str, name: str, issues: list[Issue]) -> Any:
        """Return an option of a model as its type."""
        value = setting.value
        if option == "name":
            own = configs.get(self.task_defaults, field.key).get("name")  # may be no model at all
            if value != own and (not isinstance(value, str) or self._find(field.key, value) is None):
                nearest = models.suggest_name(field.kind, str(value), self.task.dynvit)
                issues.append(Issue((), f"no {field.kind} {label_of(value)}{nearest}"))
            return value
        if option in field.given:
            issues.append(Issue((), f"{option} is set by the task {self.task.name} itself", at_key=True))
            return value
        model = self._find(field.key, name)
        if model is None:  # reported at the name
            if field.kind == "reducer" and not name:
                issues.append(Issue((), f"{setting.key} is set, and no reducer is named", at_key=True))
            return value
        if option in model.options:
            return validate(model.options[option].kind, value, issues)
        if not model.open:
            nearest = suggest(option, ["name", *(o for o in model.options if o not in field.given)])
            nearest = nearest.replace('"', f'"{field.key}.', 1)  # with the shared prefix all names would be similar
            issues.append(Issue((), f"{name} has no option {option}{nearest}", at_key=True))
        return value


def _with_whole(patch: Patch, weights: Collection[str]) -> Patch:
    """Return the patch with one setting, instead of one for each entry, where a mapping says whose weights are wanted:
    a later mapping replaces an earlier one."""
    found: list[Setting] = []
    if not any(setting.key.startswith(tuple(f"{key}." for key in weights)) for setting in patch):
        return patch
    for setting in patch:
        key = next((key for key in weights if setting.key == f"{key}.{setting.path[-1]}"), None)
        if key is None:
            found.append(setting)
            continue
        path, before = setting.path[:-1], found[-1] if found else None
        if before is None or (before.key, before.path) != (key, path):
            found.append(before := Setting(key, {}, path))
        before.value[setting.path[-1]] = setting.value
    return tuple(found)


def _placeholder(reference: Mapping[str, Any]) -> str:
    """Return what stands for a trial in the config of an arm, until its seed is known."""
    return "trial " + " ".join(f"{key}={label_of(value)}" for key, value in reference.items())


def _is_recipe(name: Any) -> bool:
    return name in recipes.names()
