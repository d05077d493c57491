"""Study files, read and checked whole: the result is a study, or every problem at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from os.path import isfile  # False for what the file system refuses, where Path.is_file raises
from pathlib import Path
from typing import Any

from studies.engine.catalog import own_code
from studies.engine.catalog.child import AnswerError
from studies.engine.catalog.tasks import Task, load_task
from studies.engine.core import yaml_loader
from studies.engine.core.errors import Problem, StudyError, shown
from studies.engine.core.suggest import suggest_or_list
from studies.engine.core.trial import Resources, keeps_text
from studies.engine.core.typing_check import Issue, to_yaml
from studies.engine.core.yaml_loader import Document
from studies.engine.study import decide, design, schema, settings, study_files
from studies.engine.study.metrics import unknown_metrics
from studies.engine.study.model import ScaledStudy, Study
from studies.engine.study.part_parser import PartParser
from studies.engine.study.parts import KeyPath, Metric, Part, Patch
from studies.engine.study.scales import PartOverride, part_override, scale_spec
from studies.engine.study.schema import PartSpec, ScaleSpec, StudyFile
from studies.engine.study.validation import check

DocumentCheck = Callable[[Document], Iterable[Problem]]


def load(path: Path, thorough: bool = True) -> Study:
    """Return the study, or raise StudyError. thorough: also check every setting of every arm."""
    study, problems = draft(path, thorough)
    if problems or study is None:
        raise StudyError(problems)
    return study


def draft(
    path: Path, thorough: bool = True, further: Sequence[DocumentCheck] = ()
) -> tuple[Study | None, list[Problem]]:
    """Return as much of a study as can be understood, and every problem. further: checks by layers above this one."""
    parser = _StudyParser(yaml_loader.read(path, keeps_text))
    study = parser.study()
    for check_document in further:
        parser.problems.extend(check_document(parser.document))
    if study is not None and thorough:
        parser.problems.extend(check(study, parser.document))
    return study, parser.problems


class _StudyParser(PartParser):
    def __init__(self, document: Document) -> None:
        super().__init__(document)
        self.spec = StudyFile()

    def study(self) -> Study | None:
        raw = self.document.value
        if not isinstance(raw, dict):
            if not self.problems:
                self.report((), "not a study: a file has the keys study, task, seeds, parts or axes, and more")
            return None
        self.spec = self.coerce(StudyFile, raw, ()) or StudyFile()
        self._check_keys(raw)
        task = self._task()
        scales = {name: scale_spec(self.coerce, name, mapping) for name, mapping in self.spec.scales.items()}
        default = self._default_scale(scales)
        seeds = self._seeds(self.spec.seeds, ("seeds",)) if self.spec.seeds or raw.get("seeds") == [] else ()
        resources = self._resources(self.spec.resources, ("resources",))
        scaled = {}
        for name, (spec, patch) in (scales or {"": (ScaleSpec(), ())}).items():
            parts = tuple(self._parts(name, spec, patch))
            own = self._seeds(spec.seeds, ("scales", name, "seeds")) if spec.seeds is not None else None
            needs = Resources(**{**resources, **self._resources(spec.resources, ("scales", name, "resources"))})
            trials = sum(design.size(part) for part in parts if part.valid) * len(own or seeds)
            if not self._within(trials, "trials", design.MOST_TRIALS, ("scales", name) if name else ("seeds",)):
                parts = tuple(replace(part, valid=False) for part in parts)
            looks = decide.merge(self.coerce, self.report, self.spec.decide, spec.decide, ("scales", name, "decide"))
            scaled[name] = ScaledStudy(name, parts, own or seeds, needs, looks)
        if task is None:
            return None
        for name, at_source, text in unknown_metrics(self.spec.metrics, task.metrics, task.name):
            hint = "" if text.endswith(("?", "`")) else task.registered
            self.report(("metrics", name, *["from"] * at_source), text + hint, at_key=not at_source)
        return Study(
            name=self.spec.study or self.document.file.stem,
            title=self.spec.title,
            file=self.document.file,
            text=self.document.text,
            task=task,
            scaled=scaled,
            others=cache(self._load_other),
            default_scale=default,
            metrics=self._metrics(raw.get("metrics"), task),
            tables=self._tables(),
        )

    def _metrics(self, given: Any, task: Task) -> dict[str, Metric]:
        """Return the study's metrics, or the task's. Of direction and unit, what is left out is the task's, or what the
        metric was registered with."""
        if not self.spec.metrics:
            return self.coerce(dict[str, Metric], task.headline, ("task",)) or {}
        found = {}
        for name, metric in self.spec.metrics.items():
            known = task.headline.get(name, {}).items()
            left_out: dict[str, Any] = {
                key: value for key, value in known if key != "from" and key not in (given[name] or {})
            }
            found[name] = replace(metric, **left_out)
        return found

    def _tables(self) -> Path | None:
        if not self.spec.tables:
            return None
        path = self.document.file.parent / self.spec.tables
        if not isfile(path):
            self.report(("tables",), f"no file {shown(path)}")
        return path

    def _load_other(self, name: str) -> Study:
        return load(study_files.find(name, self.document.file.resolve().parent), thorough=False)

    def _check_keys(self, raw: Mapping[str, Any]) -> None:
        for key in ("study", "task", "seeds"):
            if key not in raw:
                self.report((), f"{key} is missing")
        stem = self.document.file.stem
        if self.spec.study and self.spec.study != stem:
            text = f"{to_yaml(self.spec.study)} in a file called {stem}: studies are found by file name"
            self.report(("study",), text)
        elif self.spec.study:
            self.check_name(self.spec.study, ("study",))
            if stem in settings.TAKEN:
                self.report(("study",), f"{stem} is the name of something else in the results folder")
        for name in self.spec.metrics:
            self.check_name(name, ("metrics", name))
        if "parts" in raw:
            for key in ("axes", "design", "exclude"):
                if key in raw:
                    self.report((key,), "belongs in a part, as this study has parts", at_key=True)
            if not raw["parts"]:
                self.report(("parts",), "no parts")

    def _task(self) -> Task | None:
        folder, problems = self.document.file.resolve().parent, dict[int, str]()
        own = own_code.find(tuple(self.spec.imports), folder, problems)
        for index, text in problems.items():
            self.report(("imports", index), text)
        if problems or (not self.spec.imports and self.document.value.get("imports")):
            return None  # without own code all that it registers would be unknown
        if not self.spec.task:
            if self.document.value.get("task") == "":
                self.report(("task",), "no task is named")
            return None
        try:
            return load_task(self.spec.task, folder, own)
        except AnswerError as error:  # own code that cannot be imported, by the entry that its text names
            place = [i for i, entry in enumerate(self.spec.imports) if Path(entry).name in error.text]
            if not place:
                raise
            self.report(("imports", place[0]), error.text.partition(": ")[2])
            return None
        except ValueError as error:  # TaskError, or a path that no file system takes
            self.report(("task",), str(error))
            return None

    def _default_scale(self, scales: Mapping[str, Any]) -> str:
        default = self.spec.default_scale
        for name in scales:
            self.check_name(name, ("scales", name))
        if default and default not in scales:
            known = suggest_or_list(default, scales) or ": the study has none"
            self.report(("default_scale",), f"no scale {default}{known}")
        if not default and len(scales) > 1 and "default_scale" not in self.raw():
            self.report(("scales",), "default_scale is missing, though there are several", at_key=True)
        return default if default in scales else next(iter(scales), "")

    def _seeds(self, seeds: Sequence[int], path: KeyPath) -> tuple[int, ...]:
        if not seeds:
            self.report(path, "no seeds")
        if not self._within(len(seeds), "seeds", design.MOST_SEEDS, path):
            return ()
        for i, seed in enumerate(seeds):
            if seed < 0:
                self.report((*path, i), f"{seed} is negative")
            elif seed > settings.LARGEST_SEED:
                self.report((*path, i), f"a seed is at most {settings.LARGEST_SEED}")
            elif seed in seeds[:i]:
                self.report((*path, i), f"seed {seed} twice")
        return tuple(dict.fromkeys(seeds))

    def _resources(self, given: Mapping[str, Any], path: KeyPath) -> dict[str, Any]:
        issues: list[Issue] = []
        found = schema.resources(given, issues, path)
        self.report_issues(issues)
        limits = {"gpus": 0, "nodes": 1, "cpus": 1, "processes": 1, "retries": 0, "memory_gb": 0.001, "minutes": 0.001}
        for key, least in limits.items():
            value = found.get(key)
            if value is not None and value < least:
                self.report((*path, key), f"{value:g} is too little")
        if (gpus := found.get("gpus", 0)) > 1 and gpus != int(gpus):
            self.report((*path, "gpus"), f"{gpus:g} is neither a share of one GPU nor a number of GPUs")
        processes = found.get("processes")
        if gpus > 0 and processes is not None and processes != max(1, gpus):
            self.report((*path, "processes"), f"{processes} for {gpus:g} GPUs: leave it out, it is one per GPU")
        return found

    def _parts(self, scale: str, spec: ScaleSpec, patch: Patch) -> list[Part]:
        """Return the parts at one scale, their bases filled."""
        base = (*self.each_once(settings.patch(self.spec.base, ("base",))), *self.each_once(patch))
        if not self.raw("parts"):
            whole = PartSpec(axes=self.spec.axes, design=self.spec.design, exclude=self.spec.exclude)
            part = self.part(self.spec.study, whole, (), PartOverride(("scales", scale), (), spec.axes))
            for name in spec.parts:
                self.report(("scales", scale, "parts", name), "the study has no parts", at_key=True)
            return [replace(part, base=base)]
        for name in spec.axes:
            text = "belongs in scales.<scale>.parts.<part>.axes"
            self.report(("scales", scale, "axes", name), text, at_key=True)
        for name in spec.parts:
            if name not in self.raw("parts"):
                nearest = suggest_or_list(name, self.raw("parts"))
                self.report(("scales", scale, "parts", name), f"no part {name}{nearest}", at_key=True)
        found = []
        for name, part_spec in self.spec.parts.items():
            path = ("parts", name)
            self.check_name(name, path)
            override = part_override(self.coerce, scale, name, spec) if scale else PartOverride()
            part = self.part(name, part_spec, path, override)
            own = self.each_once(settings.patch(part_spec.base, (*path, "base")))
            found.append(replace(part, base=(*base, *own, *self.each_once(override.patch))))
        return found
