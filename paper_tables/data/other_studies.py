"""Frames that a table may use, of its own study and of other studies; selection of one arm from them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from paper_tables.core.errors import TableError
from paper_tables.core.statistics import Summary, summarize
from paper_tables.core.text import shorten
from paper_tables.data.frame import Arm, Frame
from paper_tables.data.load import load_frame
from paper_tables.schema.published import ArmSelector, ArmSelectors

SELECTOR_KEYS = ("study", "part", "arm")
CONTROL = "control"
"""An axis of this name makes arms that know nothing (untrained, shuffled labels). Selectors and filters mean them only
where they name the axis."""


@dataclass(frozen=True)
class SelectedArm:
    """An arm in its frame; `folder` is the name of the other study's folder, "" for this one's."""

    frame: Frame
    arm: Arm
    folder: str = ""

    @property
    def trials(self) -> tuple[str, ...]:
        return tuple(self.frame.finished_trials(self.arm))


class AmbiguousSelection(ValueError):
    """Raised for a selector that matches more than one arm; the message names them."""


@dataclass
class StudyFrames:
    """Frames by study name. `own` is that of the rendered folder, others are read from sibling folders."""

    folder: Path
    own: Frame
    read: dict[str, Frame | None] = field(default_factory=dict)

    def place(self, study: str) -> Path:
        """Return the other study's folder: with this study's label if it exists, else without a label."""
        _, at, label = self.folder.resolve().name.partition("@")
        parent = self.folder.resolve().parent
        labeled = parent / f"{study}{at}{label}"
        return labeled if labeled.is_dir() else parent / study

    def frame(self, study: str) -> Frame | None:
        """Return the frame of a study; None if it has no results."""
        if study in ("", self.own.study.partition("@")[0]):
            return self.own
        if study not in self.read:
            try:
                self.read[study] = load_frame(self.place(study))
            except TableError:
                self.read[study] = None
        return self.read[study]

    def others(self) -> dict[str, Frame]:
        """Return the frames of other studies that were used."""
        return {name: frame for name, frame in self.read.items() if frame is not None}

    def find(self, chosen: ArmSelector) -> SelectedArm | None:
        """Return the selected arm; None if its study or the arm has no results. Raises AmbiguousSelection."""
        study = chosen["study"][0] if "study" in chosen else ""
        frame = self.frame(study)
        if frame is None:
            return None
        arms = matching_arms(frame, chosen)
        if len(arms) > 1:
            labels = [f"{arm.part} {arm.label}" for arm in arms]
            raise AmbiguousSelection(
                f"matches {len(arms)} arms ({shorten(labels, 4, '; ')}): name more of part, arm or axes"
            )
        folder = "" if frame is self.own else self.place(study).name
        return SelectedArm(frame, arms[0], folder) if arms else None

    def all(self, choice: ArmSelectors) -> list[SelectedArm]:
        """Return the arms that the selectors find, in their order."""
        found = (self.find(chosen) for chosen in choice)
        return [one for one in found if one is not None]


def matching_arms(frame: Frame, chosen: ArmSelector) -> list[Arm]:
    """Return the arms that match. Axes not named are at their part's baseline unless `arm` names the arm."""
    named = {key: labels for key, labels in chosen.items() if key not in SELECTOR_KEYS}

    def fits(arm: Arm) -> bool:
        if "part" in chosen and arm.part not in chosen["part"]:
            return False
        if "arm" in chosen:
            return arm.label in chosen["arm"]
        return all(arm.coords.get(axis) in labels for axis, labels in named.items())

    arms = [arm for arm in frame.arms if fits(arm)]
    if "arm" in chosen:
        return arms
    if CONTROL not in named:
        arms = [arm for arm in arms if not is_control(frame, arm)]
    near = [
        arm for arm in arms if (base := frame.baseline(arm.part)) and set(arm.axes_differing_from(base)) <= named.keys()
    ]
    unknown = len(arms) > 1 and not any(frame.baseline(arm.part) for arm in arms)  # which is meant, no baseline says
    return near or ([] if unknown else arms)


def is_control(frame: Frame, arm: Arm) -> bool:
    """Return whether an arm has another level of the axis of controls than its part's baseline has."""
    part, base = frame.part(arm.part), frame.baseline(arm.part)
    axis = part.axis(CONTROL) if part else None
    usual = base.coords.get(CONTROL) if base else axis.baseline if axis else None
    return usual is not None and arm.coords.get(CONTROL, usual) != usual


@dataclass(frozen=True)
class Measurement:
    """A metric of a selected arm: seed -> value, and the summary over seeds."""

    found: SelectedArm
    metric: str
    values: dict[int, float]
    summary: Summary


def first_available(
    found: Iterable[SelectedArm], metrics: Iterable[str], level: float = 0.95, factor: float = 1.0
) -> Measurement | None:
    """Return the first arm, and for it the first metric, with finite values of finished trials, times `factor`."""
    for arm, metric in product(found, metrics):
        values = {seed: factor * value for seed, value in arm.frame.values(arm.arm, metric).items()}
        if values:
            return Measurement(arm, metric, values, summarize(list(values.values()), level))
    return None
