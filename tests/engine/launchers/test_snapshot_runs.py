"""Workers run the code as it was at launch, not what lies in the folder that they are started from."""

from __future__ import annotations

from pathlib import Path

import pytest

from studies.engine.core.trial import Resources
from studies.engine.jobs.launcher import Job
from studies.engine.jobs.worker_process import WorkerProcess, code_paths, worker_environment
from studies.engine.storage import code_snapshot


def test_the_snapshot_comes_before_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[3])
    code = code_snapshot.take(tmp_path)
    code_line = "import studies.engine, sys; sys.exit(studies.engine.__path__[0])"
    assert WorkerProcess(["-c", code_line], worker_environment(Job((), Resources()), code)).wait() == str(
        code / "studies" / "engine"
    )


def test_packages_that_pythonpath_has_are_there_for_workers_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`module load PyTorch` sets PYTHONPATH on many clusters: planning found the package, and every trial failed."""
    package = tmp_path / "apps/site-packages/installed_by_a_module"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.chdir(tmp_path / "apps")
    monkeypatch.setenv("PYTHONPATH", ":site-packages:")
    code = code_snapshot.take(tmp_path)
    given = worker_environment(Job((), Resources()), code)
    monkeypatch.chdir(tmp_path)
    line = (
        "import installed_by_a_module, studies, sys; sys.exit(installed_by_a_module.__path__[0] + studies.__path__[0])"
    )
    assert WorkerProcess(["-c", line], given).wait() == f"{package}{code / 'studies'}"
    monkeypatch.setenv("PYTHONPATH", given["PYTHONPATH"])
    assert code_paths(code) == {"PYTHONPATH": f"{code}:{package.parent}", "PYTHONSAFEPATH": "1"}  # in a job's process


def test_a_results_folder_whose_path_python_would_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="a path with ':' is two for Python"):
        code_snapshot.take(tmp_path / "run 12:30")
    assert not (tmp_path / "run 12:30").exists()
