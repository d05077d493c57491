"""A user of the package, for the tests of the documentation."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from doc_pages import ROOT


@pytest.fixture(scope="session")
def user(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a user who has installed the package and has nothing else."""
    home = tmp_path_factory.mktemp("home")
    kept = {name: os.environ[name] for name in ("LANG", "CI", "DYNVIT_CACHE") if name in os.environ}
    return {
        **kept,
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "NO_MKDOCS_2_WARNING": "1",
    }
