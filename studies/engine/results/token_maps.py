"""Collect token maps in the study folder, one per arm: those of its first finished seed.

They accompany the frame, for figures; no number is read from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from studies.engine.core.files import read_zip, write_atomic
from studies.engine.storage.results_dir import Store

if TYPE_CHECKING:
    from studies.engine.results.readings import Reading
    from studies.engine.storage.plan_file import PlanFile

FILE = "maps.npz"
FOLDER = "maps"


def gather(store: Store, plan: PlanFile, readings: Mapping[str, Reading], folder: Path) -> None:
    """Copy them to ``maps/<trial>.npz`` in the study folder and remove those that no arm uses any more."""
    chosen = _chosen(store, plan, readings)
    place = folder / FOLDER
    for old in place.glob("*.npz"):
        if old.stem not in chosen:
            old.unlink(missing_ok=True)
    for name, source in chosen.items():
        target, data = place / f"{name}.npz", source.read_bytes()
        if not target.is_file() or target.read_bytes() != data:
            place.mkdir(exist_ok=True)
            write_atomic(target, data)


def _chosen(store: Store, plan: PlanFile, readings: Mapping[str, Reading]) -> dict[str, Path]:
    """Return trial -> file, one per arm that has any."""
    seen: dict[tuple[str, str], str] = {}
    for trial in sorted(plan.trials, key=lambda t: t.seed):
        arm = trial.part, trial.arm
        if arm in seen or readings[trial.folder].status != "done":
            continue
        if read_zip(store.trial(trial.folder).path / FILE):
            seen[arm] = trial.folder
    return {name: store.trial(name).path / FILE for name in seen.values()}
