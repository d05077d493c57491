"""docs/reducers.md lists the methods and options that there are; the README's Python runs."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

import dynvit
from dynvit.reduction.reducer import REDUCERS

ROOT = Path(__file__).resolve().parents[3]
ROWS = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", (ROOT / "docs/reducers.md").read_text(), re.M))
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.M | re.S)


def test_every_method_has_its_row():
    assert list(ROWS) == dynvit.list_reducers()


@pytest.mark.parametrize("method", dynvit.list_reducers())
def test_a_row_names_options_that_there_are(method):
    named = set(re.findall(r"\w+", " ".join(re.findall(r"`([\w, ]+)`", ROWS[method].split(" | ")[2]))))
    options = {field.name for field in fields(REDUCERS[method])}
    assert named - {"deit_t_0", "deit_s_2", "deit_b_11"} <= options and named


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_the_code_of_the_readme_runs(number, capsys):
    exec(compile(BLOCKS[number], f"README.md, Python block {number + 1}", "exec"), {})
    assert capsys.readouterr().out


def test_the_readme_reduces_a_clip_model():
    assert any("vit_base_patch16_clip_224" in block and "dynvit.reduce" in block for block in BLOCKS)
