"""Results and ids of older versions stay: what was computed before is found, and nothing is computed again.

`tests/fixtures/results_a85d733.tar.gz` and `tests/golden/engine/trial_ids.json` were made by version a85d733, from the
study files in `tests/fixtures/earlier_studies`: the shipped ones may ask other questions meanwhile, and their table
files (see `earlier_tables`) may print other columns under other labels.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from fast_drawing import svg_alone

from studies.engine.cli.main import cli

TESTS = Path(__file__).parents[2]
IDS = json.loads((TESTS / "golden" / "engine" / "trial_ids.json").read_text())
EARLIER = TESTS / "fixtures" / "earlier_studies"
STUDIES = {"redundancy_ablation": 23, "token_redundancy": 4}


def file_of(study: str) -> str:
    return str(EARLIER / f"{study}.yaml")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    shutil.unpack_archive(TESTS / "fixtures" / "results_a85d733.tar.gz", tmp_path)
    return tmp_path / "results"


@pytest.mark.parametrize("study", STUDIES)
def test_nothing_is_run_again_on_results_of_an_older_version(study: str, results: Path) -> None:
    done = CliRunner().invoke(cli, ["plan", file_of(study), "--smoke", "--results", str(results), "--json"])
    trials = json.loads(done.stdout)["trials"]
    assert len(trials) == STUDIES[study]
    assert {(t["status"], t["run"]) for t in trials} == {("done", False)}


ARROWS = re.compile(r" (?:[↑↓]|\$\\(?:up|down)arrow\$)")


def cells(tables: Path) -> dict[str, list[str]]:
    """Every line of cells by file; captions and notes, which are prose, and the arrows in heads are left out."""
    ends = {".csv": lambda line: not line.startswith("#"), ".md": lambda line: line.startswith("|")}
    ends[".tex"] = lambda line: line.endswith("\\\\")
    return {
        file.name: [ARROWS.sub("", line) for line in file.read_text().splitlines() if ends[file.suffix](line)]
        for file in sorted(tables.glob("*.[tmc]*"))
    }


@pytest.mark.parametrize("study", STUDIES)
@svg_alone()
def test_results_of_an_older_version_are_drawn_to_the_same_tables(study: str, results: Path) -> None:
    tables = results / f"{study}@smoke" / "tables"
    kept = cells(tables)
    assert kept and all(kept.values())
    for file in tables.glob("*"):
        file.unlink()
    earlier = TESTS / "fixtures" / "earlier_tables" / f"{study}.yaml"
    spec = ["--spec", str(earlier)] if earlier.exists() else []
    done = CliRunner().invoke(cli, ["tables", file_of(study), "--smoke", "--results", str(results), *spec])
    assert done.exit_code == 0, done.output
    assert cells(tables) == kept


@pytest.mark.parametrize("name", IDS)
def test_ids_stay(name: str, tmp_path: Path) -> None:
    study, _, scale = name.partition("@")
    sized = ["--smoke"] if scale == "smoke" else ["--scale", scale] if scale else []
    done = CliRunner().invoke(cli, ["plan", file_of(study), *sized, "--json", "--results", str(tmp_path)])
    trials = json.loads(done.stdout)["trials"]
    lines = sorted(f"{t['part']} {t['arm']} s{t['seed']} {t['trial']}" for t in trials)
    assert len(lines) == IDS[name]["trials"]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == IDS[name]["sha256"]
