"""Options of data sets and losses that own code registers: keys of `data` and `loss` that depend on the name there."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from studies.engine.catalog import models
from studies.engine.catalog.json_types import python_type
from studies.engine.catalog.tasks import Task
from studies.engine.core import config as configs
from studies.engine.core.suggest import suggest, suggest_or_list
from studies.engine.core.trial import Config
from studies.engine.core.typing_check import Issue, fields, to_yaml, validate
from studies.engine.study.parts import Patch, Setting

KINDS = {"data_sets": "data set", "losses": "loss"}
"""Parts of dynvit's description that a section's name may be of, and what each is called."""


class ExtensionOptions:
    """The sections of a task's config that take the options of what their `name` names."""

    def __init__(self, task: Task, defaults: Config) -> None:
        self._task, self._defaults = task, defaults
        self.sections = dict(_sections(task.config))

    def names(self, settings: Patch) -> dict[str, str]:
        """Return the name that each section has under these settings."""
        found = {}
        for section in self.sections:
            given = [s.value for s in settings if s.key == f"{section}.name"]
            found[section] = str(given[-1] if given else configs.get(self._defaults, f"{section}.name") or "")
        return found

    def registers(self, section: str, name: str) -> bool:
        """Return whether a section's name is one that own code has registered."""
        return section in self.sections and name in self._known(section)

    def coerce(self, setting: Setting, name: str, issues: list[Issue]) -> Any:
        """Return the value as the option's type; report a name or an option that is not registered. The value of any
        other key stays as it is."""
        section, _, option = setting.key.rpartition(".")
        if section not in self.sections:
            return setting.value
        part, known = self.sections[section], self._known(section)
        if option == "name":
            if setting.value not in known:
                nearest = suggest_or_list(str(setting.value), known) or ": none is registered"
                issues.append(Issue((), f"no {KINDS[part]} {to_yaml(setting.value)}{nearest}"))
            return setting.value
        options = known[name]["options"]["properties"] if name in known else {}
        if option in options:
            return validate(python_type(options[option]), setting.value, issues)
        fixed = self._fixed(section)
        nearest = suggest(option, [*options, *fixed]).replace('"', f'"{section}.', 1)
        if not nearest and options:
            nearest = f"; it takes {', '.join(options)}"
        text = f"the {KINDS[part]} {name} has no option {option}" if name else f"{section}.name is missing"
        issues.append(Issue((), f"{text}{nearest}", at_key=True))
        return setting.value

    def hinted(self, setting: Setting, issues: Sequence[Issue], names: Mapping[str, str]) -> tuple[Issue, ...]:
        """Return the issues; one about a name that is unknown, and near to no other, says what own code registers, one
        about a name in the place of a section how it is written, one about an option outside its section where it
        belongs. names: of the models, by key."""
        section, _, key = setting.key.rpartition(".")
        named = (*self.sections, *(field.key for field in self._task.models))
        if issues and setting.key in named and isinstance(setting.value, str):
            written = to_yaml(setting.value)
            return (replace(issues[0], text=f"{written} is not a mapping; write {{name: {written}}}"),)
        if issues and not section and not issues[0].text.endswith("?") and (takes := self._taking(key, names)):
            return (replace(issues[0], text=f'{issues[0].text}, did you mean "{takes}.{key}"?'),)
        if not issues or key != "name" or section not in named or not isinstance(setting.value, str):
            return tuple(issues)
        ends = ["" if issue.text.endswith("?") else self._task.registered for issue in issues]
        return tuple(replace(issue, text=issue.text + end) for issue, end in zip(issues, ends, strict=True))

    def _taking(self, option: str, names: Mapping[str, str]) -> str:
        """Return the key of the model or reducer that has the option; empty where none has."""
        found = (
            (one.key, models.find(one.kind, names.get(one.key, ""), self._task.dynvit)) for one in self._task.models
        )
        return next((key for key, model in found if model and option in model.options), "")

    def _known(self, section: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._task.dynvit.description.get(self.sections[section], {})
        return found

    def _fixed(self, section: str) -> list[str]:
        kind: Any = self._task.config
        for step in section.split("."):
            kind = fields(kind)[step][1]
        return list(fields(kind)) if isinstance(kind, type) and dataclasses.is_dataclass(kind) else []


def _sections(config: type, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the dotted key of each section, and the part of the description that its name is of."""
    for field in dataclasses.fields(config):
        part = field.metadata.get("of")
        if part in KINDS:
            further = field.metadata.get("kind") == "further"
            yield (prefix.rstrip(".") if further else prefix + field.metadata.get("key", field.name)), part
    for key, (_, kind) in fields(config).items():
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            yield from _sections(kind, f"{prefix}{key}.")
