"""A wheel knows the commit that it was built from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from studies.engine.storage import code_snapshot

ROOT = Path(__file__).parents[3]


def test_the_build_writes_the_commit_and_the_package_reads_it(tmp_path: Path) -> None:
    command = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", tmp_path, "build_py", "--build-lib"]
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([*command, tmp_path / "lib"], cwd=ROOT, env=environ, check=True, capture_output=True, timeout=300)
    found = code_snapshot.git(tmp_path / "lib")
    assert found is not None
    assert found["sha"] == code_snapshot.git(ROOT)["sha"]  # type: ignore[index]
    assert list((tmp_path / "lib").glob("studies/engine/cli/templates/*.yaml"))


def test_without_a_repository_and_a_build_there_is_no_commit(tmp_path: Path) -> None:
    assert code_snapshot.git(tmp_path) is None
    (tmp_path / code_snapshot.BUILT).parent.mkdir(parents=True)
    (tmp_path / code_snapshot.BUILT).write_text(json.dumps({"sha": "abc", "dirty": True}))
    assert code_snapshot.git(tmp_path) == {"sha": "abc", "dirty": True}
