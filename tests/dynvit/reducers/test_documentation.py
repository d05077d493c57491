"""docs/reducers.md lists the methods and options that there are."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

import dynvit
from dynvit.reduction.reducer import REDUCERS

ROOT = Path(__file__).resolve().parents[3]
ROWS = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", (ROOT / "docs/reducers.md").read_text(), re.M))


def test_every_method_has_its_row():
    assert list(ROWS) == dynvit.list_reducers()


@pytest.mark.parametrize("method", dynvit.list_reducers())
def test_a_row_names_options_that_there_are(method):
    named = set(re.findall(r"\w+", " ".join(re.findall(r"`([\w, ]+)`", ROWS[method].split(" | ")[2]))))
    options = {field.name for field in fields(REDUCERS[method])}
    assert named - {"deit_t_0", "deit_s_2", "deit_b_11"} <= options and named
