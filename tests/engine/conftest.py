"""What the tests of the engine share: one migrated MLflow database that tests copy."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def empty_mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def mlflow_database(empty_mlflow_database: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Path]:
    """Puts an empty database into a results folder."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def place(results: Path) -> Path:
        results.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copyfile(empty_mlflow_database, results / "mlflow.db"))

    return place
