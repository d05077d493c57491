"""The results folder: trial folders, one folder per study, the MLflow database."""

from __future__ import annotations

from pathlib import Path

from studies.engine.storage.trial_folder import TrialFolder


class Store:
    """A results folder: `trials/<id>`, `<study>[@label]`, `mlflow.db`."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    @property
    def trials(self) -> Path:
        return self.root / "trials"

    def trial(self, trial_id: str) -> TrialFolder:
        return TrialFolder(self.trials / trial_id)

    def study(self, name: str) -> Path:
        """Return a study's folder; `name` includes the label: ``redundancy_ablation@smoke``."""
        return self.root / name
