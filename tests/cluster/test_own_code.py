"""Own code on a Ray cluster and on SLURM: workers import the copy of the moment at which a run has started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import own_study
from farm import Farm, need
from raycluster import BARE, QUICK, ROOT, standing

from studies.engine.storage.results_dir import Store


def run(folder: Path, *options: str, **environment: str) -> dict[int, float]:
    """Run the study and return the score of each depth."""
    command = [sys.executable, "-c", BARE, "run", "own.yaml", "--seeds", "0", *options]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **QUICK, "PYTHONPATH": str(ROOT), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=800,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    trials = [Store(folder / "results").trial(path.name) for path in (folder / "results" / "trials").iterdir()]
    found = {}
    for trial in trials:
        result, spec = trial.result() or {}, trial.spec() or {}
        assert result["metrics"]["where"] == 1.0  # imported from the results folder
        assert trial.environment(trial.state().attempt)["own"]["fingerprint"] in spec["own"]
        found[int(spec["config"]["depth"])] = float(result["metrics"]["best"]["score"])
    return found


def check(folder: Path, *options: str, **environment: str) -> None:
    """Run, edit, run what is stale of one arm."""
    own_study.write(folder, 3.0)
    assert run(folder, *options, **environment) == {1: 3.0, 2: 6.0}
    own_study.edit(folder, 5.0)
    assert run(folder, *options, **environment) == {1: 3.0, 2: 6.0}
    assert run(folder, *options, "--rerun", "stale", "--only", "depth=2", **environment) == {1: 3.0, 2: 10.0}


def test_on_ray(tmp_path: Path) -> None:
    need("a Ray cluster", packages=("ray",))
    with standing(1) as cluster:
        check(tmp_path, "--on", "ray", "--address", cluster.address)


def test_on_slurm(slurm: Farm, tmp_path: Path) -> None:
    check(tmp_path, "--on", "slurm", SLURM_CONF=slurm.conf)
