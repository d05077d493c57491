"""The frames a table may draw on, the study's own and those of studies beside it; and one arm out of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from paper_tables.core.errors import TableError
from paper_tables.data.frame import Arm, Frame
from paper_tables.data.load import load_frame
from paper_tables.schema.comparisons import ArmSelector, ArmSelectors

SELECTOR_KEYS = ("study", "part", "arm")


@dataclass(frozen=True)
class SelectedArm:
    """An arm in its frame; `folder` is the name of the other study's folder, "" for this one's."""

    frame: Frame
    arm: Arm
    folder: str = ""


class AmbiguousSelection(ValueError):
    """A selection that matches more than one arm; the message names them."""


@dataclass
class StudyFrames:
    """Frames by study name. `own` belongs to the folder that is rendered, others are read from its neighbours."""

    folder: Path
    own: Frame
    read: dict[str, Frame | None] = field(default_factory=dict)

    def place(self, study: str) -> Path:
        """Where the other study's results stand: under the label of ours if there is such a folder, else without."""
        _, at, label = self.folder.resolve().name.partition("@")
        beside = self.folder.resolve().parent
        labelled = beside / f"{study}{at}{label}"
        return labelled if labelled.is_dir() else beside / study

    def frame(self, study: str) -> Frame | None:
        """None where that study has no results."""
        if study in ("", self.own.study.partition("@")[0]):
            return self.own
        if study not in self.read:
            try:
                self.read[study] = load_frame(self.place(study))
            except TableError:
                self.read[study] = None
        return self.read[study]

    def others(self) -> dict[str, Frame]:
        """The frames of other studies that were asked for and are there."""
        return {name: frame for name, frame in self.read.items() if frame is not None}

    def find(self, chosen: ArmSelector) -> SelectedArm | None:
        """The arm that a selection names; None where its study, or the arm, has no results. Raises Ambiguous."""
        study = chosen["study"][0] if "study" in chosen else ""
        frame = self.frame(study)
        if frame is None:
            return None
        arms = matching_arms(frame, chosen)
        if len(arms) > 1:
            raise AmbiguousSelection(f"matches {len(arms)} arms ({_listed(arms)}): name more of part, arm or axes")
        folder = "" if frame is self.own else self.place(study).name
        return SelectedArm(frame, arms[0], folder) if arms else None

    def all(self, choice: ArmSelectors) -> list[SelectedArm]:
        """What the selections of a choice find, in their order."""
        found = (self.find(chosen) for chosen in choice)
        return [one for one in found if one is not None]


def matching_arms(frame: Frame, chosen: ArmSelector) -> list[Arm]:
    """The arms that fit; axes that are not named stand at their part's baseline unless the arm is named itself."""
    named = {key: labels for key, labels in chosen.items() if key not in SELECTOR_KEYS}

    def fits(arm: Arm) -> bool:
        if "part" in chosen and arm.part not in chosen["part"]:
            return False
        if "arm" in chosen:
            return arm.label in chosen["arm"]
        return all(arm.coords.get(axis) in labels for axis, labels in named.items())

    arms = [arm for arm in frame.arms if fits(arm)]
    if "arm" in chosen or len(arms) < 2:
        return arms
    near = [
        arm for arm in arms if (base := frame.baseline(arm.part)) and set(arm.axes_differing_from(base)) <= named.keys()
    ]
    return near or arms


def _listed(arms: Iterable[Arm]) -> str:
    labels = [f"{arm.part} {arm.label}" for arm in arms]
    return "; ".join(labels[:4]) + ("; ..." if len(labels) > 4 else "")
