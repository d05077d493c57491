"""A task: a Python file with `Config`, `REVISION`, `SMOKE` and `run(config, context)`.

Reading a task's Config never imports the package around it (no torch); `Task.run` does. Standard library only, because
workers on machines without the rest of the project's dependencies come through here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.machinery import SourceFileLoader
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Literal

from studies.engine.core.typing_check import Misfit, conform, fields, hint, plain

GIVEN = ("img_size", "in_chans", "num_classes", "drop_path_rate")
"""Model options that a task sets itself, from its data and recipe, unless its Config's model field says otherwise."""


Work = Callable[[Mapping[str, Any]], Mapping[str, Any]]
Weigh = Callable[[Mapping[str, Any], int, int, int], Mapping[str, float]]

Inspect = Callable[[Any], list[tuple[Literal["fine", "note", "attention"], str, str]]]


class TaskError(ValueError):
    """The task file is not there, cannot be loaded, or lacks what a task needs."""


@dataclass(frozen=True)
class ModelField:
    """A config field that holds a timm model's name and options."""

    key: str
    """Dotted, as in ``model``."""
    given: tuple[str, ...]


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

    def run(self, config: Mapping[str, Any], context: Any) -> dict[str, Any]:
        """Build the config and run; here the task's package (and so torch) is imported."""
        module = (
            import_module(f"dynvit.tasks.{self.name}") if _packaged(self.ref) else _load(self.path, _version(self.path))
        )
        result: dict[str, Any] = module.run(build(module.Config, config), context)
        return result

    def smaller(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """What `--smoke` sets besides in a config that is what it is: a task may offer `smoke(config)`."""
        ask = getattr(_load(self.path, _version(self.path)), "smoke", None)
        return ask(config) if callable(ask) else {}

    def cautions(self, config: Mapping[str, Any]) -> list[str]:
        """What the task has to say against a config that it takes all the same."""
        say = getattr(_load(self.path, _version(self.path)), "cautions", None)
        return [str(text) for text in say(build(self.config, config))] if callable(say) else []

    @property
    def reckoning(self) -> tuple[Work, Weigh] | None:
        """What a task may offer for plans: `work(config)`, images, steps and batches of a trial by its resolved config;
        `weigh(options, size, channels, classes)`, what training a model takes, for which torch is imported."""
        module = _load(self.path, _version(self.path))
        work, weigh = getattr(module, "work", None), getattr(module, "weigh", None)
        return (work, weigh) if callable(work) and callable(weigh) else None

    @property
    def inspect(self) -> Inspect | None:
        """What a task may offer for `studies doctor --data`: `inspect(config)` looks at the data set of a config."""
        found = getattr(_load(self.path, _version(self.path)), "inspect", None)
        return found if callable(found) else None

    @property
    def models(self) -> tuple[ModelField, ...]:
        return tuple(_model_fields(self.config))


def load_task(ref: str, relative_to: Path | None = None) -> Task:
    """`ref` is a name (``dynvit/tasks/NAME.py``) or a path to a .py file, relative to the folder `relative_to`."""
    path = _find(ref, relative_to)
    module = _load(path, _version(path))
    config, run = getattr(module, "Config", None), getattr(module, "run", None)
    revision, smoke = getattr(module, "REVISION", None), getattr(module, "SMOKE", None)
    if not (isinstance(config, type) and dataclasses.is_dataclass(config)):
        raise TaskError(f"{path} defines no dataclass Config")
    if not callable(run) or not isinstance(revision, int) or not isinstance(smoke, dict):
        raise TaskError(f"{path} must define run(config, context), REVISION (a whole number) and SMOKE (a dict)")
    packaged = _packaged(ref)
    return Task(ref if packaged else path.name, ref if packaged else str(path), path, config, revision, smoke)


def task_names() -> list[str]:
    return sorted(p.stem for p in _package().glob("*.py") if not p.stem.startswith("_"))


def defaults(config: type) -> dict[str, Any]:
    """The resolved default config, as JSON sees it."""
    value: dict[str, Any] = plain(build(config, plain(config())))
    return value


def build(config: type, values: Mapping[str, Any]) -> Any:
    """An instance of the Config; ValueError naming every key that does not fit."""
    found: list[Misfit] = []
    built = conform(config, values, found)
    if found:
        raise ValueError("; ".join(".".join(map(str, m.path)) + ": " * bool(m.path) + m.text for m in found))
    return built


def _packaged(ref: str) -> bool:
    return not ref.endswith(".py") and "/" not in ref


def _find(ref: str, relative_to: Path | None) -> Path:
    if not _packaged(ref):
        path = ((relative_to or Path.cwd()) / ref).resolve()
        if not path.is_file():
            raise TaskError(f"no task file {path}")
        return path
    path = _package() / f"{ref}.py"
    if ref.startswith("_") or not path.is_file():
        raise TaskError(f"no task {ref}{hint(ref, task_names())}")
    return path


def _package() -> Path:
    """dynvit/tasks, found without importing dynvit."""
    spec = find_spec("dynvit")
    if spec is None or not spec.submodule_search_locations:
        raise TaskError("the package dynvit is not installed")
    return Path(next(iter(spec.submodule_search_locations))) / "tasks"


def _version(path: Path) -> str:
    """By content: two edits within one tick of the file system's clock are still two versions."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


class _Source(SourceFileLoader):
    """Without compiled copies, which Python trusts by whole seconds and size."""

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = self.source_to_code(self.get_data(self.path), self.path)
        return code


@lru_cache(maxsize=32)
def _load(path: Path, version: str) -> ModuleType:
    """The module in that file, under a name of its own; `version` makes an edited file a new module."""
    name = f"studies_task_{path.stem}_{abs(hash((path, version))):x}"
    spec = spec_from_file_location(name, path, loader=_Source(name, str(path)))
    if spec is None or spec.loader is None:
        raise TaskError(f"{path} is not a Python file")
    module = sys.modules[name] = module_from_spec(spec)  # dataclasses look their module up by name
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise TaskError(f"{path} cannot be loaded: {type(error).__name__}: {error}") from error
    return module


def _model_fields(config: type, prefix: str = "") -> list[ModelField]:
    found = []
    for key, (field, kind) in fields(config).items():
        if field.metadata.get("kind") == "model":
            found.append(ModelField(prefix + key, tuple(field.metadata.get("given", GIVEN))))
        elif isinstance(kind, type) and dataclasses.is_dataclass(kind):
            found.extend(_model_fields(kind, f"{prefix}{key}."))
    return found
