"""A folder of the user's that has `studies` in it, as a module, a package, or a study of the same name as ours."""

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


def test_a_study_in_the_place_of_an_installed_one_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "studies" / "sret.yaml"
    own.parent.mkdir()
    own.write_text("study: sret\n")
    assert study_files.find("sret") == own
    assert study_files.replaces(own) == study_files.PACKAGE / "sret.yaml"
    own.rename(own.with_name("mine.yaml"))
    assert study_files.replaces(own.with_name("mine.yaml")) is None
    assert study_files.replaces(study_files.PACKAGE / "sret.yaml") is None
