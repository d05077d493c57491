"""A task: a Python file with `Config`, `REVISION`, `SMOKE` and `run(config, context)`.

Tasks of dynvit are described and asked without importing them (`description`); a task file given by its path is loaded
by `runtime.task_loader`, as the worker does it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os.path import isfile  # False for what the file system refuses, where Path.is_file raises
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from studies.engine.catalog import description, models, registered
from studies.engine.catalog.child import AnswerError
from studies.engine.catalog.fingerprint import package_folder
from studies.engine.catalog.own_code import ImportProblem, with_task
from studies.engine.catalog.task_file import checked, raised_in
from studies.engine.core.own_code import OwnCode
from studies.engine.core.suggest import suggest_or_list
from studies.engine.core.typing_check import fields, to_json
from studies.engine.runtime import task_imports
from studies.engine.runtime.task_loader import TaskError, build, is_packaged

GIVEN = ("img_size", "in_chans", "num_classes", "drop_path_rate")
"""Model options that a task sets itself, from its data and recipe, unless its Config's model field says otherwise."""

Finding = tuple[Literal["fine", "note", "attention"], str, str]
"""Level, what was found, what to do."""


@dataclass(frozen=True)
class ModelField:
    """A config field that holds the name and the options of a timm model, or of a token reducer."""

    key: str
    """Dotted, as in ``model``."""
    given: tuple[str, ...]
    kind: models.Kind = "model"


@dataclass(frozen=True)
class Answer:
    """What a task says of one resolved config."""

    refusal: str | None = None
    """Why its rules (`__post_init__`) refuse the config, a reason a line."""
    models: Mapping[str, str] = field(default_factory=dict)
    """By field, why its model cannot be built, or its reducer not be applied."""
    starts: Mapping[str, str] = field(default_factory=dict)
    """By key, why weights of another trial do not fit the model."""
    cautions: Sequence[str] = ()
    """What is allowed and likely a mistake."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """By key, the path of a file of weights or the folder of a data set that is there."""
    missing: Sequence[str] = ()
    """Which files are not on this machine without which no trial runs."""
    work: Mapping[str, Any] | None = None
    """Images, steps and batches of a training."""
    smoke: Mapping[str, Any] = field(default_factory=dict)
    """What `--smoke` sets in such a config."""


@dataclass(frozen=True)
class Task:
    name: str
    """``classify``, or the file's name for a task outside the package; part of every trial's identity."""
    ref: str
    """What `load_task` needs to find it again; written to spec.json."""
    path: Path
    config: type
    revision: int
    smoke: Mapping[str, Any]
    offers: frozenset[str] = frozenset()
    """Which of cautions, work, weigh, inspect, smoke the task answers."""
    metrics: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What its trials have: names, with ``*`` as in file names, by place (result, best, last, events); empty where the
    task does not say."""
    own: OwnCode | None = None
    """The study's own code, which may have registered models, data sets, losses, metrics and reducers."""
    headline: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """The metrics of a study that names none, as it would name them."""
    copied: OwnCode | None = field(default=None, compare=False)
    """What its trials import and run besides dynvit: own code, and the task's file where it is none of dynvit."""

    @property
    def dynvit(self) -> description.Dynvit:
        """What answers about models and packaged tasks."""
        return description.current(self.own)

    @property
    def _module(self) -> ModuleType:
        assert self.copied is not None, "a task of dynvit is asked in a process of its own"
        return task_imports.load(self.path, self.copied)

    @property
    def registered(self) -> str:
        """Return, as the end of a message about an unknown name, what the study's own code registers."""
        return registered.said(self.own, self.dynvit.description)

    def check(self, configs: Sequence[Mapping[str, Any]]) -> list[Answer]:
        """Return what the task says of each resolved config; of a packaged task, all new ones in one question."""
        if is_packaged(self.ref):
            found = self.dynvit.check(self.name, configs)
            return [Answer(**{k: v for k, v in answer.items() if k != "folders"}) for answer in found]
        module = self._module
        return [self._check_own(module, config) for config in configs]

    def _check_own(self, module: ModuleType, config: Mapping[str, Any]) -> Answer:
        try:
            built = build(self.config, config) if "cautions" in self.offers or _has_rules(self.config) else None
        except ValueError as error:
            return Answer(refusal=str(error))
        try:
            return Answer(
                cautions=[str(text) for text in module.cautions(built)] if "cautions" in self.offers else (),
                work=module.work(config) if "work" in self.offers else None,
                smoke=module.smoke(config) if "smoke" in self.offers else {},
            )
        except (Exception, SystemExit) as error:
            return Answer(refusal=f"{raised_in(error)}: {type(error).__name__}: {error}")

    def weigh(self, options: Mapping[str, Any], size: int, channels: int, classes: int) -> Mapping[str, float] | str:
        """Return what training a model takes, or why that cannot be counted."""
        if is_packaged(self.ref):
            arguments = {"options": options, "size": size, "channels": channels, "classes": classes}
            try:
                counted: Mapping[str, float] = self.dynvit.child.ask("weigh", task=self.name, **arguments)
            except AnswerError as error:
                return error.text
            return counted
        try:
            found: Mapping[str, float] = self._module.weigh(options, size, channels, classes)
        except (Exception, SystemExit) as error:
            return f"{type(error).__name__}: {error}"
        return found

    def inspect(self, config: Mapping[str, Any]) -> list[Finding]:
        """Return what the task finds in the data set of a config; it must offer ``inspect``."""
        if is_packaged(self.ref):
            found = self.dynvit.child.ask("inspect", task=self.name, config=config)
            return [(level, text, remedy) for level, text, remedy in found]
        return list(self._module.inspect(build(self.config, config)))

    @property
    def models(self) -> tuple[ModelField, ...]:
        kinds: tuple[models.Kind, ...] = ("model", "reducer")
        return tuple(
            ModelField(key, tuple(metadata.get("given", GIVEN)), kind)
            for kind in kinds
            for key, metadata in _fields_of_kind(self.config, kind)
        )

    @property
    def weights(self) -> dict[str, str]:
        """Return the keys of weights, and the key of the model that each belongs to: empty for the trial's own."""
        found = _fields_of_kind(self.config, "weights")
        return {key: f"{key.rpartition('.')[0]}.{m['model']}" if "model" in m else "" for key, m in found}

    @property
    def added(self) -> tuple[str, ...]:
        """Return the keys that resolved configs have only where they are not at their default."""
        return tuple(key for key, _ in _fields_of_kind(self.config, "added"))


OFFERS = ("cautions", "work", "weigh", "inspect", "smoke")


def load_task(ref: str, relative_to: Path | None = None, own: OwnCode | None = None) -> Task:
    """Return the task of a name (``dynvit/tasks/NAME.py``), or of a .py file relative to the folder `relative_to`.

    Raises:
        TaskError: there is none, or it lacks what a task needs.
        DescriptionError: dynvit, or own code, cannot be imported.
    """
    path = _find(ref, relative_to)
    if is_packaged(ref):
        dynvit = description.current(own, renew=True)
        if ref not in dynvit.configs:
            raise TaskError(f"{path} must define a dataclass Config and run(config, context)")
        found = dynvit.description["tasks"][ref]
        offers = frozenset(found["answers"])
        common = (dynvit.configs[ref], found["revision"], found["smoke"], offers, found["metrics"])
        return Task(ref, ref, path, *common, own, found["headline"], own)
    if own is not None:
        _ = description.current(own, renew=True).description  # raises where it cannot be imported
    try:
        copied = with_task(own, path, relative_to or Path.cwd())
    except ImportProblem as error:
        raise TaskError(str(error)) from error
    module = checked(task_imports.load(path, copied), path)
    offers = frozenset(name for name in OFFERS if callable(getattr(module, name, None)))
    metrics, headline = (getattr(module, name, {}) for name in ("METRICS", "HEADLINE"))
    common = (module.Config, module.REVISION, module.SMOKE, offers, metrics)
    return Task(path.name, str(path), path, *common, own, headline, copied)


def task_names() -> list[str]:
    return sorted(p.stem for p in (package_folder() / "tasks").glob("*.py") if not p.stem.startswith("_"))


def defaults(config: type) -> dict[str, Any]:
    """Return the resolved default config, as JSON has it."""
    value: dict[str, Any] = to_json(build(config, to_json(config())))
    return value


def _find(ref: str, relative_to: Path | None) -> Path:
    if not is_packaged(ref):
        path = ((relative_to or Path.cwd()) / ref).resolve()
        if not isfile(path):
            raise TaskError(f"no task file {path}")
        return path
    try:
        path = package_folder() / "tasks" / f"{ref}.py"
    except FileNotFoundError as error:
        raise TaskError(str(error)) from None
    if ref.startswith("_") or not isfile(path):
        raise TaskError(f"no task {ref}{suggest_or_list(ref, task_names())}")
    return path


def _fields_of_kind(config: type, name: str, prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield dotted key and metadata of the fields that hold a model, a reducer, or weights, or were added."""
    for key, (item, kind) in fields(config).items():
        if item.metadata.get("kind") == name:
            yield prefix + key, item.metadata
        elif isinstance(kind, type) and dataclasses.is_dataclass(kind):
            yield from _fields_of_kind(kind, name, f"{prefix}{key}.")


def _has_rules(config: Any) -> bool:
    """Return whether a config class or one inside it has rules of its own; else building a config finds nothing."""
    if not (isinstance(config, type) and dataclasses.is_dataclass(config)):
        return False
    return hasattr(config, "__post_init__") or any(_has_rules(kind) for _, kind in fields(config).values())
