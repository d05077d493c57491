"""Study files: read and checked whole. Either a study comes out, or every problem at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from studies.engine.catalog.tasks import Task, load_task
from studies.engine.core import yaml_loader
from studies.engine.core.errors import Problem, StudyError
from studies.engine.core.trial import Resources
from studies.engine.core.typing_check import hint, show
from studies.engine.core.yaml_loader import Document
from studies.engine.runtime.task_loader import TaskError
from studies.engine.study import schema, settings
from studies.engine.study.model import Part, Patch, Sized, Study
from studies.engine.study.part_parser import Reader
from studies.engine.study.scales import ScaleOver, scale_over, scale_text
from studies.engine.study.schema import PartText, ScaleText, StudyText


def load(path: Path, thorough: bool = True) -> Study:
    """The study, or StudyError. `thorough`: also check every setting of every arm against the task and its models."""
    study, problems = draft(path, thorough)
    if problems or study is None:
        raise StudyError(problems)
    return study


def draft(path: Path, thorough: bool = True) -> tuple[Study | None, list[Problem]]:
    """As much of a study as can be understood, and what is wrong with the rest."""
    reader = _StudyReader(yaml_loader.read(path))
    study = reader.study()
    if study is not None and thorough:
        from studies.engine.study.validation import check

        reader.problems.extend(check(study, reader.document))
    return study, reader.problems


class _StudyReader(Reader):
    def __init__(self, document: Document) -> None:
        super().__init__(document)
        self.text: StudyText = StudyText()

    def study(self) -> Study | None:
        raw = self.document.value
        if not isinstance(raw, dict):
            if not self.problems:
                self.say((), "not a study: a file has the keys study, task, seeds, parts or axes, and more")
            return None
        self.text = self.fit(StudyText, raw, ()) or StudyText()
        self._required(raw)
        task = self._task()
        scales = {name: scale_text(self, name, patch) for name, patch in self.text.scales.items()}
        default = self._default_scale(scales)
        seeds = self.seeds(self.text.seeds, ("seeds",)) if self.text.seeds or raw.get("seeds") == [] else ()
        resources = self._resources(self.text.resources, ("resources",))
        sizes = {}
        for name, (text, patch) in (scales or {"": (ScaleText(), ())}).items():
            parts = tuple(self._parts(name, text, patch))
            own = self.seeds(text.seeds, ("scales", name, "seeds")) if text.seeds is not None else None
            needs = Resources(**{**resources, **self._resources(text.resources, ("scales", name, "resources"))})
            sizes[name] = Sized(name, parts, own or seeds, needs)
        if task is None:
            return None
        return Study(
            name=self.text.study or self.document.file.stem,
            title=self.text.title,
            file=self.document.file,
            text=self.document.text,
            task=task,
            sizes=sizes,
            default_scale=default,
            metrics=self.text.metrics,
        )

    def _required(self, raw: Mapping[str, Any]) -> None:
        for key in ("study", "task", "seeds"):
            if key not in raw:
                self.say((), f"{key} is missing")
        stem = self.document.file.stem
        if self.text.study and self.text.study != stem:
            self.say(("study",), f"{show(self.text.study)} in a file called {stem}: studies are found by file name")
        elif self.text.study:
            self.name(self.text.study, ("study",))
        for name in self.text.metrics:
            self.name(name, ("metrics", name))
        if "parts" in raw:
            for key in ("axes", "design", "exclude"):
                if key in raw:
                    self.say((key,), "belongs into a part, as this study has parts", at_key=True)
            if not raw["parts"]:
                self.say(("parts",), "no parts")

    def _task(self) -> Task | None:
        if not self.text.task:
            return None
        try:
            return load_task(self.text.task, self.document.file.resolve().parent)
        except TaskError as error:
            self.say(("task",), str(error))
            return None

    def _default_scale(self, scales: Mapping[str, Any]) -> str:
        default = self.text.default_scale
        for name in scales:
            self.name(name, ("scales", name))
        if default and default not in scales:
            self.say(("default_scale",), f"no scale {default}{hint(default, scales) or ': the study has none'}")
        if not default and len(scales) > 1 and "default_scale" not in self._raw():
            self.say(("scales",), "default_scale is missing, though there are several", at_key=True)
        return default if default in scales else next(iter(scales), "")

    def _resources(self, given: Mapping[str, Any], path: tuple[str | int, ...]) -> dict[str, Any]:
        found: list[Any] = []
        fitted = schema.resources(given, found, path)
        self.say_all(found)
        limits = {"gpus": 0, "nodes": 1, "cpus": 1, "processes": 1, "retries": 0, "memory_gb": 0.001, "minutes": 0.001}
        for key, least in limits.items():
            value = fitted.get(key)
            if value is not None and value < least:
                self.say((*path, key), f"{value:g} is too little")
        if (gpus := fitted.get("gpus", 0)) > 1 and gpus != int(gpus):
            self.say((*path, "gpus"), f"{gpus:g} is neither a share of one GPU nor a number of GPUs")
        processes = fitted.get("processes")
        if gpus > 0 and processes is not None and processes != max(1, gpus):
            self.say((*path, "processes"), f"{processes} for {gpus:g} GPUs: leave it out, it is one per GPU")
        self._launchers(fitted.get("launcher", {}), (*path, "launcher"))
        return fitted

    def _launchers(self, given: Mapping[str, Any], path: tuple[str | int, ...]) -> None:
        from studies.engine.jobs.launcher import launcher_names
        from studies.engine.launchers.slurm import options as _slurm_options

        for name, options in given.items():
            if name not in launcher_names():
                self.say((*path, name), f"no launcher {name}{hint(name, launcher_names())}", at_key=True)
            elif name == "slurm":
                found: list[Any] = []
                _slurm_options.read_options(options, found, (*path, name))
                self.say_all(found)

    def _parts(self, scale: str, text: ScaleText, patch: Patch) -> list[Part]:
        """The parts at one scale."""
        base = settings.patch(self.text.base, ("base",))
        if not self._raw("parts"):
            over = scale_over(self, scale, "", text, whole=True) if scale else ScaleOver()
            whole = PartText(axes=self.text.axes, design=self.text.design, exclude=self.text.exclude)
            part = self.part(self.text.study, whole, (), over)
            for name in text.parts:
                self.say(("scales", scale, "parts", name), "the study has no parts", at_key=True)
            return [replace(part, base=(*base, *patch))]
        for name in text.axes:
            self.say(("scales", scale, "axes", name), "belongs into scales.<scale>.parts.<part>.axes", at_key=True)
        for name in text.parts:
            if name not in self._raw("parts"):
                nearest = hint(name, self._raw("parts"))
                self.say(("scales", scale, "parts", name), f"no part {name}{nearest}", at_key=True)
        found = []
        for name, part_text in self.text.parts.items():
            where = ("parts", name)
            self.name(name, where)
            over = scale_over(self, scale, name, text, whole=False) if scale else ScaleOver()
            part = self.part(name, part_text, where, over)
            own = settings.patch(part_text.base, (*where, "base"))
            found.append(replace(part, base=(*base, *patch, *own, *over.patch)))
        return found
