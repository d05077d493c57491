"""plan.json of a study folder: the planned trials, so that `status`, `tables` and others need no study file."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from studies.engine.core.files import DamagedFile, load_json, read_json, write_atomic
from studies.engine.core.typing_check import Issue, validate
from studies.engine.storage.records import is_count

NAME = "plan.json"
_NAME = re.compile(r"\w[\w.@+=,-]*")
TEXT_KEYS = ("study", "title", "label", "scale", "study_file", "study_text", "task")
ORIGIN_KEYS = ("origins", "other_studies")
PATH_KEYS = ("table_file", "study_path")
OPTIONAL_KEYS = ("further_seeds", *ORIGIN_KEYS, "overrides", *PATH_KEYS)
"""Written only where a study has some."""


@dataclass(frozen=True)
class PlannedMetric:
    source: str | None = field(metadata={"key": "from"})
    direction: str
    unit: str


@dataclass(frozen=True)
class PlannedAxis:
    name: str
    label: str
    levels: tuple[str, ...]
    baseline: str


@dataclass(frozen=True)
class PlannedPart:
    name: str
    baseline: str
    """The baseline arm's label."""
    axes: tuple[PlannedAxis, ...]


@dataclass(frozen=True)
class PlannedTrial:
    part: str
    arm: str
    coords: dict[str, str | None]
    baseline: bool
    blocks: tuple[str, ...]
    seed: int
    trial: str
    folder: str


@dataclass(frozen=True)
class ChangedRule:
    digest: str
    n: int
    """Seeds that were finished when the claim's rule was first seen as it is now."""


@dataclass(frozen=True)
class PlannedDecide:
    """How a study's claims are decided: its `decide`, and digests of the claims' rules."""

    looks: tuple[int, ...]
    error: float
    max_hours: float | None = None
    rules: dict[str, str] = field(default_factory=dict)
    """By claim, as they were before the first trial."""
    changed: dict[str, ChangedRule] = field(default_factory=dict)
    """By claim, the rules of today that are others or were not there before the first trial."""


@dataclass(frozen=True)
class PlanFile:
    path: Path
    study: str
    title: str
    label: str
    scale: str
    study_file: str
    study_text: str
    task: str
    metrics: dict[str, PlannedMetric]
    parts: tuple[PlannedPart, ...]
    trials: tuple[PlannedTrial, ...]
    decide: PlannedDecide | None = None
    further_seeds: tuple[int, ...] = ()
    """Seeds of trials that were added to the study's list by looks or --seeds."""
    origins: dict[str, str] = field(default_factory=dict)
    """Folder id -> name of further trials, of other studies or seeds, that some of these start from."""

    other_studies: dict[str, str] = field(default_factory=dict)
    """File name and text of the studies that those belong to."""
    overrides: tuple[str, ...] = ()
    """What --set gave: ``train.epochs=20``."""
    table_file: str = ""
    """A person's own table file; empty: the package's, or none."""
    study_path: str = ""
    """Where a person's own study file is; empty: in the package."""

    @property
    def folder(self) -> Path:
        return self.path.parent

    @property
    def full_name(self) -> str:
        return folder_name(self.study, self.label)

    @property
    def smoke(self) -> bool:
        """Whether it was made with --smoke: the label says so after the scale; a scale or a value may be called so."""
        rest = "" if self.label == self.scale else self.label.removeprefix(f"{self.scale}-")
        return rest.partition("-")[0] == "smoke"


def folder_name(study: str, label: str) -> str:
    """``redundancy_ablation@smoke``; the label is empty for the plain run at the default scale."""
    return f"{study}@{label}" if label else study


def find(store_root: Path, name: str, label: str = "") -> Path | None:
    """The study folder of that name and label, or None where nothing was planned.

    A label that begins with the default scale's name finds the folder that leaves it out.
    """
    folder = store_root / folder_name(name, label)
    if os.path.isfile(folder / NAME):  # False for what is too long to be a name
        return folder
    scale, _, rest = label.partition("-")
    short = store_root / folder_name(name, rest)
    plan = read_json(short / NAME) if scale else None
    return short if plan is not None and plan.get("scale") == scale else None


def folders(store_root: Path) -> Iterator[Path]:
    """Every study folder of a results folder, in order of name."""
    yield from sorted(path.parent for path in store_root.glob(f"*/{NAME}"))


def write_plan(plan: PlanFile) -> Path:
    """Write plan.json; a file with the same content is left untouched."""
    text = (json.dumps(to_json(plan), indent=1, ensure_ascii=False) + "\n").encode()
    plan.folder.mkdir(parents=True, exist_ok=True)
    if not plan.path.is_file() or plan.path.read_bytes() != text:
        write_atomic(plan.path, text)
    return plan.path


def to_json(plan: PlanFile) -> dict[str, Any]:
    """Return the contents of plan.json."""
    return {
        "schema": 1,
        **{key: getattr(plan, key) for key in TEXT_KEYS},
        "metrics": {
            name: {"from": m.source, "direction": m.direction, "unit": m.unit} for name, m in plan.metrics.items()
        },
        "parts": [asdict(part) for part in plan.parts],
        "trials": [vars(trial) for trial in plan.trials],
        **({"decide": asdict(plan.decide)} if plan.decide else {}),
        **{key: value for key in OPTIONAL_KEYS if (value := getattr(plan, key))},
    }


def read_plan(folder: Path) -> PlanFile:
    """Read a study folder's plan.

    Raises:
        FileNotFoundError: there is none.
        DamagedFile: it does not hold a plan; the text says what to do.
    """
    path, issues = folder / NAME, list[Issue]()
    remedy = f"`studies run {folder.name.partition('@')[0]}` with the same options writes it again"
    try:
        raw = load_json(path)
        if raw is None:
            raise FileNotFoundError(f"no plan in {folder}: nothing has been run there")
        metrics = validate(dict[str, PlannedMetric], raw.get("metrics"), issues)
        parts = validate(tuple[PlannedPart, ...], raw.get("parts"), issues)
        trials = validate(tuple[PlannedTrial, ...], raw.get("trials"), issues)
        decide = validate(PlannedDecide | None, raw.get("decide"), issues)
        further = validate(tuple[int, ...], raw.get("further_seeds", ()), issues)
        overrides = validate(tuple[str, ...], raw.get("overrides", ()), issues)
        paths = {key: validate(str, raw.get(key, ""), issues) for key in PATH_KEYS}
        origins = {key: validate(dict[str, str], raw.get(key, {}), issues) for key in ORIGIN_KEYS}
        texts = {key: validate(str, raw.get(key), issues) for key in TEXT_KEYS}
    except (DamagedFile, OverflowError) as error:
        raise DamagedFile(f"{path} is damaged; {remedy}") from error
    if not issues:
        names = [texts["study"], *(trial.folder for trial in trials), *origins["origins"], *origins["other_studies"]]
    if issues or not trials or not all(map(_NAME.fullmatch, names)) or not all(is_count(t.seed) for t in trials):
        raise DamagedFile(f"{path} is damaged; {remedy}")
    return PlanFile(
        path=path, metrics=metrics, parts=parts, trials=trials, decide=decide, further_seeds=further,
        overrides=overrides, **origins, **texts, **paths
    )  # fmt: skip


def find_plan(folder: Path) -> PlanFile | None:
    """Return a study folder's plan, None where there is none that can be read."""
    try:
        return read_plan(folder)
    except (FileNotFoundError, DamagedFile):
        return None


def further_seeds(folder: Path) -> dict[tuple[str, str], set[int]]:
    """Return by part and arm the seeds beyond the study's list that a study folder's plan has."""
    found: dict[tuple[str, str], set[int]] = {}
    if plan := find_plan(folder):
        for trial in plan.trials:
            if trial.seed in plan.further_seeds:
                found.setdefault((trial.part, trial.arm), set()).add(trial.seed)
    return found
