"""A folder of the user's with modules that have the names of packages: `studies`, or what it imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from studies.engine.study import study_files

SCRIPT = "import sys; sys.argv[0] = 'studies'; from studies.engine.cli.main import main; main()"
"""What the console script runs: the current folder is not on its path."""


@pytest.mark.parametrize("own", ["studies.py", "studies/__init__.py"])
def test_the_command_works_beside_own_code_called_studies(tmp_path: Path, own: str) -> None:
    (tmp_path / own).parent.mkdir(exist_ok=True)
    (tmp_path / own).write_text("raise SystemExit('own code was imported')\n")
    root = str(study_files.PACKAGE.parent)
    done = subprocess.run(
        [sys.executable, "-P", "-c", SCRIPT, "list"],
        cwd=tmp_path, env={"PYTHONPATH": root, "PATH": "/usr/bin:/bin"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "redundancy_ablation" in done.stdout


@pytest.mark.parametrize("own", ["yaml.py", "random.py", "click/__init__.py"])
def test_python_m_studies_works_beside_own_code_with_the_name_of_what_it_imports(tmp_path: Path, own: str) -> None:
    (tmp_path / own).parent.mkdir(exist_ok=True)
    (tmp_path / own).write_text("raise SystemExit('own code was imported')\n")
    root = str(study_files.PACKAGE.parent)
    done = subprocess.run(
        [sys.executable, "-m", "studies", "list"],
        cwd=tmp_path, env={"PYTHONPATH": root, "PATH": "/usr/bin:/bin"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "redundancy_ablation" in done.stdout
