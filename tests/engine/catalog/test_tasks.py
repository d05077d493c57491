"""Tasks: those of dynvit described and asked, a file of the user's loaded."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from studies.engine.catalog.tasks import Answer, TaskError, build, defaults, load_task
from studies.engine.core.typing_check import fields, type_name
from studies.engine.runtime.task_loader import run_task

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
        ("x = (", r"mine\.py line 1: '\(' was never closed"),
        ("import nothing_of_that_name", "cannot be loaded: ModuleNotFoundError"),
        ("import sys; sys.exit(3)", "cannot be loaded: SystemExit: 3"),
        ("exit()", "cannot be loaded: SystemExit"),
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


RULES = """
def cautions(config): return [f"{config.inner.steps} steps are few"] if config.inner.steps < 3 else []
def smoke(config): return {"inner.steps": 1}
"""


def test_a_file_answers_in_this_process(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(TASK)
    assert load_task("mine.py", tmp_path).check([{"inner": {"steps": 2}}]) == [Answer()]
    (tmp_path / "mine.py").write_text(TASK + RULES)
    few, enough, wrong = load_task("mine.py", tmp_path).check(
        [{"inner": {"steps": 2}}, {"inner": {"steps": 7}}, {"inner": {"steps": "x"}}]
    )
    assert (few.cautions, few.smoke, few.work) == (["2 steps are few"], {"inner.steps": 1}, None)
    assert (enough.cautions, enough.refusal) == ([], None)
    assert wrong.refusal == 'inner.steps: "x" is not a whole number'


def test_a_packaged_task_is_described_as_python_has_it() -> None:
    from importlib import import_module

    for name in ("classify", "cost", "redundancy"):
        task, module = load_task(name), import_module(f"dynvit.tasks.{name}")
        assert (task.revision, task.smoke) == (module.REVISION, module.SMOKE)
        assert defaults(task.config) == defaults(module.Config)
        assert _types(task.config) == _types(module.Config)
        assert [(m.key, m.given) for m in task.models] == [*_models(module.Config)]


def _types(config: type, prefix: str = "") -> dict[str, str]:
    """Dotted key -> type, as messages name it."""
    found = {}
    for key, (item, kind) in fields(config).items():
        choices = item.metadata.get("choices")  # of text that own code may add to
        found[prefix + key] = type_name(Literal[tuple(choices())] if choices else kind)
        if dataclasses.is_dataclass(kind):
            found |= _types(kind, f"{prefix}{key}.")  # type: ignore[arg-type]
    return found


def _models(config: type, prefix: str = "") -> Iterator[tuple[str, tuple[str, ...]]]:
    for key, (field, kind) in fields(config).items():
        if field.metadata.get("kind") in ("model", "reducer"):
            yield prefix + key, field.metadata.get("given", ())
        elif dataclasses.is_dataclass(kind):
            yield from _models(kind, f"{prefix}{key}.")  # type: ignore[arg-type]


def test_a_packaged_task_answers_by_its_own_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = load_task("classify")
    whole = defaults(task.config)
    small = {**whole, "train": {**whole["train"], "epochs": -1, "ema": 2.0}}
    files = {**whole, "data": {**whole["data"], "name": "folder"}}
    nested = {**whole, "data": {**whole["data"], "limit": 0}}
    monkeypatch.setenv("DYNVIT_DATA", str(tmp_path))
    fine, refused, absent, wrong = task.check([whole, small, files, nested])
    assert (fine.refusal, fine.cautions, fine.models) == (None, (), {})
    assert fine.work is not None and fine.work["classes"] == 10
    assert refused.refusal is not None and len(refused.refusal.splitlines()) == 2
    assert f"no folder {tmp_path}/folder" in absent.missing[0]
    assert wrong.refusal == "data: limit must be at least 1, got 0"
    (tmp_path / "folder").mkdir()
    assert "must hold train/" in task.check([files])[0].missing[0]  # not the answer of before
    for split in ("train", "val"):
        (tmp_path / "folder" / split).mkdir()
    assert task.check([files])[0].missing == ()


def test_reading_a_task_imports_nothing_beyond_the_standard_library() -> None:
    code = (
        "import sys; from studies.engine.catalog.tasks import load_task, defaults;"
        "defaults(load_task('classify').config);"
        "print([m for m in ('torch', 'timm', 'numpy', 'dynvit', 'yaml', 'click', 'pydantic') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
