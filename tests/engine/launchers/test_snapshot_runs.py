"""Workers run the code as it was at launch, not what lies in the folder that they are started from."""

from __future__ import annotations

from pathlib import Path

import pytest

from studies.engine.core.trial import Resources
from studies.engine.jobs.launcher import Job
from studies.engine.jobs.worker_process import WorkerProcess, worker_environment
from studies.engine.storage import code_snapshot


def test_the_snapshot_comes_before_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[3])
    code = code_snapshot.take(tmp_path)
    code_line = "import studies.engine, sys; sys.exit(studies.engine.__path__[0])"
    assert WorkerProcess(["-c", code_line], worker_environment(Job((), Resources()), code)).wait() == str(
        code / "studies" / "engine"
    )
