"""`studies options` of what a study's own code registers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from studies.engine.catalog import description
from studies.engine.cli.main import cli

CODE = '''
import dynvit
from torch import nn


class Net(nn.Module):
    """Small.

    dim: channels.
    """

    def __init__(self, dim: int = 4, num_classes: int = 10):
        super().__init__()
        self.fc = nn.LazyLinear(num_classes)

    def forward(self, x):
        return self.fc(x.flatten(1))


dynvit.register(Net, {"ownnet": {"dim": 8}})


@dynvit.register_dataset("dots")
def dots(count: int = 40):
    """Dots. count: of each split."""


@dynvit.register_loss("soft")
def soft(logits, target, epsilon: float = 1.0):
    """Smooth."""


@dynvit.register_metric("half")
def half(logits, targets):
    """Always a half."""
    return 0.5
'''
STUDY = """
study: mine
title: Mine
task: classify
imports: [own.py]
seeds: [0]
base: {model: {name: ownnet, dimm: 3}}
parts: {a: {}}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(CODE)
    Path("mine.yaml").write_text(STUDY)
    return tmp_path


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, ["options", *words])


def listed(*words: str) -> dict[str, Any]:
    shown = run(*words, "--json")
    assert shown.exit_code == 0, shown.output
    return {option["name"]: option["default"] for option in json.loads(shown.output)["options"]}


def test_everything_that_a_study_registers_though_its_settings_are_wrong() -> None:
    expected = {"ownnet": "", "ownnet.dim": "8", "dots": "", "dots.count": "40", "soft": "", "soft.epsilon": "1.0",
                "half": ""}  # fmt: skip
    assert listed("mine.yaml") == listed("--study", "mine.yaml") == expected
    assert "options go under `model:`, `data:`, `loss:`" in run("mine.yaml").output


def test_one_of_them() -> None:
    assert listed("ownnet", "--study", "mine.yaml") == {"dim": "8"}
    assert listed("dots", "--study", "mine.yaml") == {"count": "40"}
    assert listed("soft", "--study", "mine.yaml") == {"epsilon": "1.0"}
    assert "none" in run("half", "--study", "mine.yaml").output
    assert listed("reducer", "pitome", "--study", "mine.yaml") == listed("reducer", "pitome")


def test_what_is_not_there_gets_a_sentence() -> None:
    assert 'mine.yaml registers no ownet, did you mean "ownnet"?' in run("ownet", "--study", "mine.yaml").output
    assert "`studies options STUDY.yaml`" in run("ownnet").output
    assert "sret.yaml has no own code: `imports: [FILE.py]` names it" in run("--study", "sret").output
    assert "no such file" in run("min.yaml").output
    Path("own.py").write_text("import nothing_of_that_name")
    shown = run("mine.yaml")
    assert shown.exit_code == 2 and "nothing_of_that_name" in shown.output and "mine.yaml:5:" in shown.output


def test_nothing_that_is_shipped_counts_as_own() -> None:
    found = description.current().description
    parts = ("models", "data_sets", "losses", "metrics", "reducers")
    assert not [name for part in parts for name, entry in found[part].items() if "from" in entry]
