"""Task files: read without their package, run with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from studies.engine.catalog.tasks import defaults, load_task
from studies.engine.runtime.task_loader import TaskError, build, run_task

TASK = """
from __future__ import annotations
from dataclasses import dataclass, field
from typing import Any
REVISION = 3
SMOKE = {"inner.steps": 1}
@dataclass(frozen=True)
class Inner:
    steps: int = 5
    sizes: tuple[int, ...] = (1, 2)
    scale: float = 2
@dataclass(frozen=True)
class Config:
    inner: Inner = field(default_factory=Inner)
    net: dict[str, Any] = field(default_factory=dict, metadata={"kind": "model", "given": ("img_size",)})
def run(config, context):
    return {"metrics": {"steps": config.inner.steps, "kind": type(config).__name__, "who": context}}
"""


def test_a_task_outside_the_package_is_named_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(TASK)
    task = load_task("mine.py", tmp_path)
    assert (task.name, task.revision, task.smoke) == ("mine.py", 3, {"inner.steps": 1})
    assert [(m.key, m.given) for m in task.models] == [("net", ("img_size",))]
    assert load_task(task.ref) == task
    assert run_task(task.ref, {"inner": {"steps": 7}}, "me") == {"metrics": {"steps": 7, "kind": "Config", "who": "me"}}


def test_defaults_are_as_json_has_them_and_numbers_of_their_types(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(TASK)
    found = defaults(load_task("mine.py", tmp_path).config)
    assert repr(found) == repr({"inner": {"steps": 5, "sizes": [1, 2], "scale": 2.0}, "net": {}})


def test_an_edited_file_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(TASK)
    assert load_task("mine.py", tmp_path).revision == 3
    file.write_text(TASK.replace("REVISION = 3", "REVISION = 4"))
    assert load_task("mine.py", tmp_path).revision == 4


def test_build_names_every_key_that_does_not_fit(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(TASK)
    with pytest.raises(ValueError, match=r'inner\.steps: "x" is not a whole number; other: unknown key'):
        build(load_task("mine.py", tmp_path).config, {"inner": {"steps": "x"}, "other": 1})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = (", "cannot be loaded: SyntaxError"),
        ("import nothing_of_that_name", "cannot be loaded: ModuleNotFoundError"),
        ("Config = 3", "defines no dataclass Config"),
        (TASK.replace("def run", "def ran"), "must define run"),
    ],
)
def test_a_file_that_is_no_task(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(TaskError, match=said):
        load_task("mine.py", tmp_path)


def test_an_unknown_name_gets_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match='no task clasify, did you mean "classify"'):
        load_task("clasify")
    with pytest.raises(TaskError, match="no task file"):
        load_task("gone.py", tmp_path)


def test_reading_a_task_imports_nothing_beyond_the_standard_library() -> None:
    code = (
        "import sys; from studies.engine.catalog.tasks import load_task, defaults;"
        "defaults(load_task('classify').config);"
        "print([m for m in ('torch', 'timm', 'numpy', 'dynvit', 'yaml', 'click', 'pydantic') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
