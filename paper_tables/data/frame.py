"""The frame: one row per planned trial, and the curves. All that is known about how results were made.

Columns: study, part, trial, arm, baseline, seed, status, attempts, axis.<name> (label, empty where inert),
metric.<name>, cost.seconds, cost.gpu_hours, cost.peak_memory_mb, model.params, model.gflops, env.git, env.source,
env.gpu, env.torch, started, ended. Order of axes and levels and the direction of metrics are in the parquet's
metadata under ``dynvit``; a frame that is only a CSV has them in order of appearance.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from paper_tables.core.text import join_and, shorten
from paper_tables.data.contents import contents_digest
from paper_tables.data.curves import ByTrial, parse_curve_metric, per_trial
from paper_tables.data.design import Arm, Axis, Metadata, Part, from_rows
from paper_tables.data.directions import usual_direction
from paper_tables.data.predictions import Predictions

__all__ = ["Arm", "Axis", "Frame", "Part"]
ENDED = ("done", "failed", "lost")
"""States of trials that say how the arm does; the others have not ended yet."""


class _Trial(NamedTuple):
    id: str
    seed: int
    status: str

    @property
    def done(self) -> bool:
        return self.status == "done"


@dataclass(frozen=True)
class Frame:
    """A loaded and validated frame."""

    rows: pd.DataFrame
    curves: pd.DataFrame
    metadata: Metadata
    raw_metadata: dict[str, Any]
    """As it was read, for the digest; empty for a CSV, from which parts and axes are inferred."""
    maps: dict[str, Path] = field(default_factory=dict)
    """Trial -> its token maps, for figures."""
    images: Predictions | None = None
    """The trials' predictions per image, if they were saved."""

    @property
    def declared(self) -> bool:
        """Whether parts, axes and metrics are declared by the study rather than inferred from the rows."""
        return bool(self.raw_metadata)

    @cached_property
    def study(self) -> str:
        names = self.rows["study"].unique()
        return self.metadata.study or (str(names[0]) if len(names) else "")

    @cached_property
    def title(self) -> str:
        return self.metadata.title or self.study

    @cached_property
    def label(self) -> str:
        """Scale and label of this run of the study."""
        scale, label = self.scale, self.metadata.label
        if overrides := self.metadata.overrides:
            smoke = str(label).removeprefix(f"{scale}-").startswith("smoke-")  # a value may be called so, too
            label = ", ".join(["smoke"] * smoke + [f"with {join_and([*overrides])}"])
        return ", ".join([f"scale {scale}"] * bool(scale) + [str(label)] * bool(label and label != scale))

    @cached_property
    def scale(self) -> str:
        return self.metadata.scale or ""

    @cached_property
    def digest(self) -> str:
        images = self.images.path.read_bytes() if self.images else b""
        return contents_digest(self.rows, self.curves, self.raw_metadata, images)

    @cached_property
    def git(self) -> str:
        """Commits that produced the results, with + for uncommitted edits; `unknown` if not recorded."""
        return shorten([sha[:12] + "+" * sha.endswith("+") for sha in self.distinct("env.git")], 3) or "unknown"

    @cached_property
    def provenance(self) -> str:
        return f"frame {self.digest} git {self.git}"

    def distinct(self, column: str) -> list[str]:
        """Return the distinct values of a text column, in order of appearance, without blanks."""
        if column not in self.rows:
            return []
        return [str(v) for v in self.rows[column].unique() if str(v)]

    @cached_property
    def columns(self) -> list[str]:
        return [str(c) for c in self.rows.columns]

    @cached_property
    def axes(self) -> list[str]:
        """All axes of the study, in the frame's order."""
        return [c.removeprefix("axis.") for c in self.columns if c.startswith("axis.")]

    @cached_property
    def parts(self) -> list[Part]:
        found = [from_rows(name, group) for name, group in self.rows.groupby("part", sort=False)]
        declared = {part.name for part in self.metadata.parts}
        return [*self.metadata.parts, *(part for part in found if part.name not in declared)]

    def part(self, name: str) -> Part | None:
        return next((p for p in self.parts if p.name == name), None)

    @cached_property
    def arms(self) -> list[Arm]:
        """All arms: parts in the study's order, in each the baseline first."""
        arms = []
        for (part, label), group in self.rows.reset_index(drop=True).groupby(["part", "arm"], sort=False):
            first = group.iloc[0]
            coords = {axis: str(first[f"axis.{axis}"]) for axis in self.axes if first[f"axis.{axis}"] != ""}
            arms.append(Arm(str(part), str(label), bool(first["baseline"]), coords, tuple(group.index)))
        order = {part.name: i for i, part in enumerate(self.parts)}
        return sorted(arms, key=lambda arm: (order[arm.part], not arm.baseline))

    def baseline(self, part: str) -> Arm | None:
        return self._baselines.get(part)

    @cached_property
    def _baselines(self) -> dict[str, Arm]:
        return {arm.part: arm for arm in reversed(self.arms) if arm.baseline}

    @cached_property
    def complete(self) -> bool:
        """Whether every level of every axis occurs: then a missing arm is not in the design."""
        taken = {(arm.part, axis, level) for arm in self.arms for axis, level in arm.coords.items()}
        levels = {(part.name, axis.name, level) for part in self.parts for axis in part.axes for level in axis.levels}
        return self.declared and bool(self.arms) and levels <= taken

    # ---- numbers

    @property
    def main_metrics(self) -> list[str]:
        """The metrics that the study declares, else those of its tasks."""
        return list(self.metadata.metrics) or [c.removeprefix("metric.") for c in self.columns if c[:7] == "metric."]

    @cached_property
    def metrics(self) -> list[str]:
        """All metrics that a table may name, the study's own first."""
        own = [c.removeprefix("metric.") for c in self.columns if c.startswith("metric.")]
        other = [c.split(".", 1)[1] for c in self.columns if c.startswith(("model.", "cost."))]
        derived = ["params_m"] if "model.params" in self.rows else []
        return list(dict.fromkeys([*self.metadata.metrics, *own, *other, *derived]))

    def has_metric(self, metric: str) -> bool:
        """Return whether it is a metric or reduces a logged curve; any curve is accepted if none were saved."""
        taken, curves = parse_curve_metric(metric), self.logged.by_metric
        return metric in self.metrics if taken is None else not curves or taken.metric in curves

    def direction(self, metric: str) -> str:
        """Return "max", "min" or "none"."""
        taken = parse_curve_metric(metric)
        if taken is None:
            return self.metadata.metric(metric).direction or "none"
        name = taken.metric.removeprefix("val.").removeprefix("train.")
        return "min" if taken.reduction == "jitter" else self.metadata.metric(name).direction or usual_direction(name)

    def values(self, arm: Arm, metric: str) -> dict[int, float]:
        """Return seed -> value of finished trials with a finite value."""
        if metric not in self._columns:
            self._columns[metric] = self._column(metric)
        found = ((i, float(self._columns[metric][i])) for i in arm.rows if self._trials[i].done)
        return {self._trials[i].seed: value for i, value in found if math.isfinite(value)}

    def trial_by_seed(self, arm: Arm) -> dict[int, str]:
        """Return seed -> id of the finished trial."""
        return {trial.seed: trial.id for trial in (self._trials[i] for i in arm.rows) if trial.done}

    def finished_trials(self, arm: Arm) -> list[str]:
        """Return the ids of the arm's finished trials."""
        return [self._trials[i].id for i in arm.rows if self._trials[i].done]

    def own_code(self, arm: Arm) -> list[str]:
        """Return the versions of the user's own code that the arm's finished trials have imported."""
        own, done = self.rows.get("env.own"), [i for i in arm.rows if self._trials[i].done]
        return [] if own is None else [*filter(None, own.iloc[done].dropna().unique())]

    def seeds(self, arms: Iterable[Arm]) -> list[int]:
        """Return the planned seeds."""
        return sorted({self._trials[i].seed for arm in arms for i in arm.rows})

    def statuses(self, arms: Iterable[Arm]) -> dict[str, int]:
        return Counter(self._trials[i].status for arm in arms for i in arm.rows)

    def ended(self, arm: Arm) -> list[int]:
        """Return the seeds of the trials that have finished, or failed for good."""
        return [self._trials[i].seed for i in arm.rows if self._trials[i].status in ENDED]

    def without_value(self, arm: Arm, metric: str) -> int:
        """Return how many ended trials failed, or have no finite value because they diverged."""
        return len(self.ended(arm)) - len(self.values(arm, metric))

    def first_seeds(self, n: int) -> Frame:
        """Return the frame with the first n trials of each arm, in the order of its rows."""
        return replace(self, rows=self.rows[self.rows.groupby(["part", "arm"]).cumcount() < n].reset_index(drop=True))

    def unfinished(self, arms: Iterable[Arm]) -> str:
        """For example "1 failed and 2 running"; empty if every trial has finished."""
        return join_and([f"{n} {status}" for status, n in self.statuses(arms).items() if status != "done"])

    def curve(self, arm: Arm, metric: str) -> pd.DataFrame:
        """Return step, trial, value of the arm's finished trials."""
        found = [self.logged[metric][name] for name in self.finished_trials(arm) if name in self.logged[metric]]
        return pd.concat(found).sort_index() if found else self.curves.iloc[:0]

    def curve_metrics(self) -> list[str]:
        return sorted(self.logged.by_metric)

    @cached_property
    def logged(self) -> ByTrial:
        """The curves by metric and trial."""
        return ByTrial(self.curves)

    @cached_property
    def _trials(self) -> list[_Trial]:
        columns = (self.rows[name] for name in ("trial", "seed", "status"))
        return [_Trial(str(name), int(seed), str(status)) for name, seed, status in zip(*columns, strict=True)]

    @cached_property
    def _columns(self) -> dict[str, Any]:
        return {}

    def _column(self, metric: str) -> Any:
        for column in (f"metric.{metric}", f"model.{metric}", f"cost.{metric}"):
            if column in self.rows:
                return self.rows[column].to_numpy()
        if metric == "params_m" and "model.params" in self.rows:
            return self.rows["model.params"].to_numpy() / 1e6
        if (taken := parse_curve_metric(metric)) is not None and taken.metric in self.logged.by_metric:
            found = per_trial(self.logged.by_metric[taken.metric], taken, self.direction(metric) != "min")
            return np.array([found.get(trial.id, np.nan) for trial in self._trials])
        return np.full(len(self.rows), np.nan)
