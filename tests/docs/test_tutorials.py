"""The tutorials, followed from an empty folder: what is shown as a file is written, what is shown as bash is run."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from doc_pages import ROOT, blocks

TUTORIALS = ROOT / "docs" / "tutorials"
EPOCHS = ("train: {epochs: 24,", "train: {epochs: 2,")
"""What the tutorial trains, and what is enough to see that its commands work."""
FIRST = ("first_study", "results_to_paper", "few_seeds")
"""These go on in the folder of the one before."""


def follow(tutorial: str, folder: Path, user: dict[str, str]) -> str:
    """Do what a tutorial says; return what its commands printed."""
    said = ""
    for block in blocks(TUTORIALS / f"{tutorial}.md"):
        if block.title:
            file = Path(block.title.replace("~", user["HOME"]))
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(block.text.replace(*EPOCHS))
        elif block.language == "bash":
            command = ["bash", "-euo", "pipefail", "-c", block.text]
            done = subprocess.run(command, cwd=folder, env=user, capture_output=True, text=True)
            assert done.returncode == 0, f"{tutorial}: {block.text}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
            said += done.stdout
    return said


@pytest.mark.slow
def test_from_a_first_study_to_a_decided_claim(tmp_path: Path, user: dict[str, str]) -> None:
    said = {tutorial: follow(tutorial, tmp_path, user) for tutorial in FIRST}
    study = tmp_path / "results" / "pruning"
    assert EPOCHS[1] in (tmp_path / "pruning.yaml").read_text()
    assert "3 arms x 3 seeds" in said["first_study"] and "done 3" in said["first_study"]
    assert r"\begin{table" in said["results_to_paper"]
    looks = json.loads((study / "decisions.json").read_text())["history"]
    assert {look["claim"] for look in looks} == {"pruning_is_free"}
    assert (study / "pruning.zip").is_file() and "checksums match" in said["results_to_paper"]
    assert (tmp_path / "results" / "paper.tex").is_file() and (study / "figures" / "training.pdf").is_file()


def test_the_mistake_that_the_first_tutorial_shows(tmp_path: Path, user: dict[str, str]) -> None:
    found = blocks(TUTORIALS / "first_study.md")
    study = next(block for block in found if block.title == "pruning.yaml")
    shown = next(block for block in found if block.text.rstrip().endswith("1 error"))
    (tmp_path / "pruning.yaml").write_text(study.text.replace("model.keep_rate", "model.keep_rat"))
    done = subprocess.run(["studies", "plan", "pruning.yaml"], cwd=tmp_path, env=user, capture_output=True, text=True)
    assert done.stderr.strip() == shown.text.strip()


@pytest.mark.slow
def test_off_the_shelf(tmp_path: Path, user: dict[str, str]) -> None:
    said = follow("off_the_shelf", tmp_path, user)
    assert "tome" in said and (tmp_path / "results" / "off_the_shelf@smoke" / "report.html").is_file()


@pytest.mark.parametrize(("tutorial", "shown"), [("slurm", "#SBATCH --account=abc123"), ("ray", "@smoke  3 parts")])
def test_what_a_cluster_would_get(tutorial: str, shown: str, tmp_path: Path, user: dict[str, str]) -> None:
    assert shown in follow(tutorial, tmp_path, user)
    assert not list(tmp_path.glob("results/trials/*"))
