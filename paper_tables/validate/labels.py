"""Names that a table file gives labels or notes to: scales, parts, axes, levels, metrics."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from paper_tables.core.errors import Fault, suggest
from paper_tables.data.frame import Frame
from paper_tables.data.study_file import declared
from paper_tables.schema.figures import PanelFigure
from paper_tables.schema.table_file import Spec
from paper_tables.schema.tables import ComparisonTable
from paper_tables.tables import published
from paper_tables.tables.labels import COUNT_UNIT, METRICS
from paper_tables.validate.names import NameCheck


@dataclass(frozen=True)
class LabelCheck(NameCheck):
    spec: Spec

    def _label_names(self) -> Iterator[Fault]:
        """Labels of another scale, and of another study that the file names, are right."""
        for name, label in self.spec.metrics.items():
            if name in METRICS and METRICS[name].power is not None and not COUNT_UNIT.fullmatch(label.unit or ""):
                text = f'"{label.unit}" is no unit of a count: give k, M, G or T, MACs or FLOPs, or both, as in GMACs'
                yield self.document.fault(("metrics", name, "unit"), text)
        for scale in self.spec.scales:
            yield from self._scales((scale,), [self.frame], ("scales", scale))
        for part in self.spec.parts:
            yield from self._part(part, ("parts", part))
        frames = [self.frame, *map(self.library.frame, self._studies())]
        found = [frame for frame in frames if frame is not None]
        yield from self._likely([*self._axis_labels(found), *self._metric_labels(found)], len(found) == len(frames))

    def _studies(self) -> list[str]:
        """Return the other studies that the file's tables and claims name."""
        tables = [table for table in self.spec.tables if isinstance(table, ComparisonTable)]
        arms = [arm for table in tables for row in table.rows for arm in row.measured]
        for condition in (condition for claim in self.spec.claims for condition in claim.conditions):
            arms += [*condition.of, *condition.against, *(arm for one in condition.controls for arm in one.of)]
        return list(dict.fromkeys(arm["study"][0] for arm in arms if "study" in arm))

    def _axis_labels(self, frames: list[Frame]) -> Iterator[Fault]:
        known: dict[str, list[str]] = {name: [] for frame in frames for name in frame.axes}
        for frame in frames:
            for axis in (axis for part in frame.parts for axis in part.axes):
                known.setdefault(axis.name, []).extend(axis.levels)
            for name, levels in declared(frame.metadata.study_text or "").levels.items():
                known.setdefault(name, []).extend(levels)
        for name, label in self.spec.axes.items():
            yield from self._known((name,), "the study has no axis", known, ("axes",), name)
            if name in known and all(frame.declared for frame in frames):
                for level in label.levels.keys() - known[name]:
                    text = f'the axis {name} has no level "{level}"{suggest(level, known[name])}'
                    yield self.document.fault(("axes", name, "levels", level), text)

    def _metric_labels(self, frames: list[Frame]) -> Iterator[Fault]:
        """A metric that is logged per layer has the label of its curves' common beginning."""
        curves = [name for frame in frames for name in frame.curve_metrics()]
        known = [*(name for frame in frames for name in frame.metrics), *curves, *METRICS, *published.COLUMNS]
        drawn = [figure.metric for figure in self.spec.figures if isinstance(figure, PanelFigure)]
        for name in self.spec.metrics.keys() - {*known, *drawn}:
            if not any(curve.startswith(name) for curve in curves) and not any(f.has_metric(name) for f in frames):
                yield from self._known((name,), "the results have no metric", known, ("metrics",), name)
