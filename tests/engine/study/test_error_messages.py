"""Every message about wrong input, as `studies plan` prints it: `tests/golden/engine/errors.txt`."""

from __future__ import annotations

from pathlib import Path

import golden_text
import pytest
import study_text
import wrong_inputs
from click.testing import CliRunner

from studies.engine.cli.main import cli
from studies.engine.study import recipes


def printed(arguments: list[str]) -> str:
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2, f"{arguments}\n{result.output}{result.exception!r}"
    return result.output


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", "config")
    return tmp_path


def test_every_message_stays(folder: Path) -> None:
    wrong_inputs.write_profiles(folder)
    found = []
    for name, text, arguments in wrong_inputs.cases():
        file = study_text.write(folder, text)
        found.append(f"## {name}\n{printed(['plan', file.name, *arguments])}")
    for name, text in wrong_inputs.TASKS.items():
        file = study_text.write(folder)
        (folder / "task.py").write_text(text)
        found.append(f"## task: {name}\n{printed(['plan', file.name])}")
    for name in ("none.yaml", "redundancy_ablatoin", "../redundancy_ablation", ""):
        found.append(f"## STUDY: {name}\n{printed(['plan', name])}")
    golden_text.same("errors.txt", "\n".join(found).replace(str(folder), "FOLDER"))


RECIPE = """\
title: [a]
models: 3
setings: {train.lr: 1}
settings: [train.lr]
theirs: {train.lr: [1], a: 2}
notes: one
"""


def test_a_wrong_recipe_file_is_refused_with_places(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipes, "folder", lambda: folder / "recipes")
    (folder / "recipes").mkdir()
    (folder / "recipes" / "mine.yaml").write_text(RECIPE)
    study_text.write(folder, "study: small\ntask: classify\nseeds: [0]\nbase: {recipe: mine}\n")
    golden_text.same("errors_recipe.txt", printed(["recipes", "mine"]) + printed(["plan", "small.yaml"]))
