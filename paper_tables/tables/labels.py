"""Printed names of parts, axes, levels, arms and metrics, and the power of ten in which a metric is printed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from paper_tables.core.text import escape_markup
from paper_tables.data.curves import CurveMetric, parse_curve_metric
from paper_tables.data.frame import Arm, Frame
from paper_tables.data.other_studies import CONTROL, is_control
from paper_tables.schema.table_file import Spec

RECONSTRUCTED = ("mor_vit", "edge_recvit", "tpc_vit", "tpc_deit", "tpc_lvvit", "tpc_swin")
"""Systems without official code: labeled as reconstructed even if the table file does not say so."""

PHASES = {"val": "Validation", "train": "Training"}
"""What a logged curve of a metric begins with."""
PREFIXES = {0: "", 3: "k", 6: "M", 9: "G", 12: "T"}
_PREFIXED = re.compile(r"([kMGT])((?:MAC|FLOP)s?\b.*)?")
"""A unit of a count with the prefix in it: G, GMACs."""

COUNT_UNIT = re.compile(r"[kMGT]?(\s*(?:MAC|FLOP)s?\b.*)?")
"""What a table file may give a count as its unit: k%, M% would be the others."""
COUNT_DIGITS = 9
"""Most decimals of a count that is printed in one unit, however small: of a single parameter in G."""


@dataclass(frozen=True)
class Quantity:
    """A printed metric. `power` is set for counts: values are in units of 10^power, printed in those of
    10^`chosen`, by default as fits them."""

    label: str
    head: str
    unit: str = ""
    power: int | None = None
    chosen: int | None = None


METRICS = {
    "top1": Quantity("Top-1 accuracy", "Top-1", "%"),
    "top5": Quantity("Top-5 accuracy", "Top-5", "%"),
    "loss": Quantity("Validation loss", "Loss"),
    "gflops": Quantity("Multiply-accumulates per image", "MACs", "", 9),
    "params_m": Quantity("Parameters", "Params", "", 6),
    "params": Quantity("Parameters", "Params", "", 0),
    "images_per_second": Quantity("Throughput", "Images/s", "images/s"),
    "mean_depth": Quantity("Mean depth per token", "Depth", "layers"),
    "active_share": Quantity("Active tokens", "Active", "share"),
    "seconds": Quantity("Training time", "Time", "s"),
    "gpu_hours": Quantity("GPU time", "GPU time", "h"),
    "peak_memory_mb": Quantity("Peak memory", "Memory", "MB"),
    "val.top1": Quantity("Validation top-1", "Top-1", "%"),
    "val.top5": Quantity("Validation top-5", "Top-5", "%"),
    "val.loss": Quantity("Validation loss", "Loss"),
    "train.loss": Quantity("Training loss", "Loss"),
    "train.top1": Quantity("Training top-1", "Top-1", "%"),
    "active.layer": Quantity("Active tokens", "Active"),
    "fluctuation": Quantity("Fluctuation of validation accuracy", "Fluctuation"),
    "detrended_fluctuation": Quantity("Fluctuation of validation accuracy about its trend", "Fluctuation", "points"),
    "generalization_gap": Quantity("Top-1 on training images minus that on validation images", "Gap", "points"),
    "isolated_pauses": Quantity("Pauses without a pausing neighbor", "Isolated pauses", "share"),
    "pause_flips": Quantity("States that last one layer", "Flips", "share"),
    "returned_attention": Quantity("Lowest tokens that are among the highest of a later layer", "Returned", "share"),
    "returned_same_layer_attention": Quantity(
        "The same between two noisy views of one layer", "Returned, noise", "share"
    ),
    "update_speedup": Quantity("Speed-up of a training update", "Update"),
    "depth_spread_within": Quantity("Spread of depth within an image", "Spread within", "layers"),
    "depth_spread_between": Quantity("Spread of mean depth over images", "Spread between", "layers"),
}


@dataclass(frozen=True)
class Names:
    """Labels from the table file, else from the study, else the plain names."""

    spec: Spec
    frame: Frame

    def scale_notes(self) -> list[str]:
        return [text for text in [self.spec.scales.get(self.frame.scale, "")] if text]

    def part(self, name: str) -> str:
        given = self.spec.parts.get(name)
        label = (given.label if given else "") or escape_markup(name)
        return f"{label} (reconstructed)" if self.reconstructed(name) else label

    def reconstructed(self, part: str) -> bool:
        given = self.spec.parts.get(part)
        return given.reconstructed if given else part.startswith(RECONSTRUCTED)

    def axis(self, name: str) -> str:
        given = self.spec.axes.get(name)
        if given and given.label:
            return given.label
        found = (part.axis(name) for part in self.frame.parts)
        label = next((axis.label for axis in found if axis), "")
        return escape_markup(label if label and label != name else name.replace("_", " "))

    def level(self, axis: str, level: str) -> str:
        given = self.spec.axes.get(axis)
        label = given.levels.get(level) if given else None
        if label is None and level.lower().replace("-", "_").startswith((*RECONSTRUCTED, "tpc_")):
            return f"{escape_markup(level)} (reconstructed)"
        return label or escape_markup(level)

    def bare(self, axis: str) -> bool:
        given = self.spec.axes.get(axis)
        return given is not None and given.bare

    def setting(self, axis: str, level: str) -> str:
        return self.level(axis, level) if self.bare(axis) else f"{self.axis(axis)} {self.level(axis, level)}"

    def coords(self, arm: Arm, axes: Iterable[str] | None = None) -> str:
        if axes is None:  # that an arm is no control goes without saying
            axes = (axis for axis in arm.coords if axis != CONTROL or is_control(self.frame, arm))
        chosen = list(axes)
        return ", ".join(self.setting(a, arm.coords[a]) for a in chosen if a in arm.coords)

    def arm(self, arm: Arm) -> str:
        """Return the settings in which the arm differs from its baseline; its own label if it has no axes."""
        base = self.frame.baseline(arm.part)
        if not arm.coords:
            return escape_markup(arm.label)
        if arm.baseline and not all(self.bare(axis) for axis in arm.coords):
            return f"{self.coords(arm)} (baseline)" if len(arm.coords) == 1 else "baseline"
        if arm.baseline or base is None:
            return self.coords(arm)
        return self.coords(arm, arm.axes_differing_from(base)) or escape_markup(arm.label)

    def metric(self, name: str) -> Quantity:
        known = METRICS.get(name)
        taken = parse_curve_metric(name)
        if taken is not None and name not in self.spec.metrics:
            return self._from_curve(taken)
        phase, _, base = name.partition(".")
        if known is None and base and phase in PHASES:
            own = self.metric(base)
            label = f"{PHASES[phase]} {own.label[:1].lower()}{own.label[1:]}"
            known = Quantity(label, own.head, own.unit, own.power, own.chosen)
        if known is None:
            words = escape_markup(name).replace("_", " ").replace(".", " ")
            known = Quantity(words, words)
        declared = self.frame.metadata.metric(name).unit
        given = self.spec.metrics.get(name)
        unit = known.unit if known.power is not None or not declared else escape_markup(declared)
        if given is None:
            return Quantity(known.label, known.head, unit, known.power, known.chosen)
        unit = unit if given.unit is None else given.unit
        chosen = known.chosen if given.unit is None else None
        if known.power is not None and (found := _PREFIXED.fullmatch(unit)):
            chosen = next(power for power, prefix in PREFIXES.items() if prefix == found[1])
            unit = found[2] or ""
        return Quantity(given.label or known.label, given.head or known.head or known.label, unit, known.power, chosen)

    def _from_curve(self, taken: CurveMetric) -> Quantity:
        """For example "Jitter of validation top-1", "Validation top-1 after 10 % of training"."""
        base = self.metric(taken.metric)
        lower = base.label[:1].lower() + base.label[1:]
        if taken.reduction == "at":
            label = f"{base.label} after {100 * taken.share:g} % of training"
            return Quantity(label, f"{base.head} at {100 * taken.share:g} %", base.unit)
        reduction = taken.reduction.capitalize()
        return Quantity(f"{reduction} of {lower}", f"{reduction} of {lower}", base.unit)

    def scaled(self, name: str, values: Iterable[float]) -> tuple[float, str]:
        """Return the scaling factor and unit of a metric: counts are printed in k, M or G; those whose unit
        in the table file has a prefix, in that."""
        quantity = self.metric(name)
        if quantity.power is None:
            return 1.0, quantity.unit
        sizes = [abs(v) for v in values if v]
        size = math.log10(float(np.median(sizes))) + quantity.power if sizes else quantity.power
        power = min(max(3 * math.floor(size / 3 + 1e-9), 0), 12) if quantity.chosen is None else quantity.chosen
        return 10.0 ** (quantity.power - power), PREFIXES[power] + quantity.unit


def with_unit(label: str, unit: str) -> str:
    return f"{label} ({unit})" if unit else label


def fill_unit(head: str, unit: str) -> str:
    """Return a head with the unit in the place of ``{unit}``; of a metric without one no empty brackets stay."""
    return (head if unit else re.sub(r"\s*[(\[]\{unit\}[)\]]", "", head)).replace("{unit}", unit)


def automatic_digits(values: Iterable[float], most: int = 4) -> int:
    """Return the decimals, at most as many, that give three significant digits of the median."""
    sizes = [abs(v) for v in values if v and math.isfinite(v)]
    return min(max(2 - math.floor(math.log10(float(np.median(sizes)))), 0), most) if sizes else 2
