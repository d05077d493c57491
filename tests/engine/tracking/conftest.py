"""A results folder with an empty MLflow database, and the plan of a small study."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import made_study as made
import pytest

from studies.engine.storage.results_dir import Store


@pytest.fixture
def store(tmp_path: Path, mlflow_database: Callable[[Path], Path]) -> Store:
    mlflow_database(tmp_path / "results")
    return Store(tmp_path / "results")


@pytest.fixture
def plan() -> dict[str, Any]:
    """Six trials; where seeds matter a test makes its own."""
    return made.make_plan(seeds=1)
