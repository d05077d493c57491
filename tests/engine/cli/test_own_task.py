"""A task that is a file of the user's: trials run a copy of it; an edit is stale; it is part of an export."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from studies.engine.catalog.own_code import ImportProblem, with_task
from studies.engine.catalog.tasks import defaults, load_task
from studies.engine.cli.main import cli
from studies.engine.cli.options import UsageError
from studies.engine.core.own_code import OwnCode
from studies.engine.runtime.task_loader import TaskError
from studies.engine.storage.results_dir import Store

Typed = Callable[..., str]
TASK = """
import sys
from dataclasses import dataclass
from typing import Any
REVISION = 1
SMOKE: dict[str, Any] = {}
@dataclass(frozen=True)
class Config:
    depth: int = 1
def run(config: Config, context: Any) -> dict[str, Any]:
    import near
    copied = "results/code/own-" in __file__ and "results/code/own-" in near.__file__
    score = config.depth * near.VALUE * 1.0
    return {"metrics": {"score": score, "copied": float(copied), "bare": float("dynvit" not in sys.modules)}}
"""
STUDY = """
study: tasks
title: A task of my own
task: task.py
seeds: [0]
axes: {depth: {key: depth, values: [1, 2], baseline: 1}}
metrics: {score: {}, copied: {}, bare: {}}
"""


@pytest.fixture
def studies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Typed:
    """Types a command in the folder of the study; returns what it prints, and checks its exit code."""
    monkeypatch.chdir(tmp_path)
    for write in ("update", "close"):
        monkeypatch.setattr(f"studies.engine.tracking.mirror.Mirror.{write}", lambda self: True)

    def type_(*words: str) -> str:
        done = CliRunner().invoke(cli, words, standalone_mode=False)
        if isinstance(done.exception, Exception):
            raise done.exception
        assert done.return_value == 0, done.output
        return done.output

    for name, text in (("task.py", TASK), ("near.py", "VALUE = 3\n"), ("tasks.yaml", STUDY)):
        (tmp_path / name).write_text(text)
    return type_


def edit(before: str, after: str) -> None:
    file = Path("task.py")
    file.write_text(file.read_text().replace(before, after))


def values(metric: str = "score") -> list[float]:
    with open("results/tasks/trials.csv") as file:
        return [float(row[f"metric.{metric}"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize("launcher", ["inline", "local"])
def test_an_edit_of_the_task_is_stale(studies: Typed, launcher: str) -> None:
    run = ("run", "tasks.yaml", "--on", launcher)
    studies(*run)
    assert (values(), values("copied")) == ([3.0, 6.0], [1.0, 1.0])
    if launcher == "local":
        assert values("bare") == [1.0, 1.0], "a task that registers nothing needs no dynvit"
    (spec, _) = (json.loads((path / "spec.json").read_text()) for path in Store(Path("results")).trials.iterdir())
    assert (spec["task"], spec["imports"]) == ("task.py", [])
    copies = set(os.listdir(Path("results", spec["own"])))
    assert copies - {"__pycache__"} == {"near.py", "own.json", "task.py"}
    assert "stale " not in studies("plan", "tasks.yaml").replace("stale code 0", "")

    edit("* 1.0", "* 10.0")
    because = "stale     2 done trials ran before an edit of own code: task.py; `--rerun stale` trains them again"
    assert because in studies("plan", "tasks.yaml")
    assert "nothing to run" in studies(*run)
    studies(*run, "--rerun", "stale", "--only", "depth=2")
    assert (values(), values("copied")) == ([3.0, 60.0], [1.0, 1.0])
    Path("near.py").write_text("VALUE = 4\n")
    studies(*run, "--rerun", "stale")
    assert values() == [40.0, 80.0]

    edit("REVISION = 1", "REVISION = 2")
    assert "2 trials" in studies("plan", "tasks.yaml"), "another revision: other trials, none of them stale"
    assert "edit of own code" not in studies("plan", "tasks.yaml")


def test_results_of_a_task_that_was_not_copied_stay(studies: Typed) -> None:
    """Of an earlier version: spec.json has the path of the file, the environment knows nothing of it."""
    run = ("run", "tasks.yaml", "--on", "inline")
    studies(*run)
    for trial in Store(Path("results")).trials.iterdir():
        spec = json.loads((trial / "spec.json").read_text())
        before = {key: value for key, value in spec.items() if key not in ("own", "imports")}
        (trial / "spec.json").write_text(json.dumps({**before, "task": str(Path("task.py").resolve())}))
        (trial / "attempts" / "0" / "env.json").write_text("{}")
    edit("* 1.0", "* 10.0")
    assert "edit of own code" not in studies("plan", "tasks.yaml")
    assert "nothing to run" in studies(*run)
    studies(*run, "--rerun", "all")
    assert (values(), values("copied")) == ([30.0, 60.0], [1.0, 1.0])


def test_an_export_has_the_task_and_verify_runs_it(studies: Typed, tmp_path: Path) -> None:
    studies("run", "tasks.yaml", "--on", "local")
    studies("export", "tasks", "-o", "tasks.zip")
    with zipfile.ZipFile("tasks.zip") as archive:
        names = {Path(name).name for name in archive.namelist() if "/code/own-" in name}
    assert names == {"task.py", "near.py", "own.json"}
    for gone in ("task.py", "near.py"):
        Path(gone).unlink()
    shutil.rmtree("results")
    assert "2 of 2 trials agree" in studies("verify", "tasks.zip", "--sample", "2")


def test_a_task_by_itself_is_found_by_its_path_only(tmp_path: Path) -> None:
    """Its folder is not searched for modules, so its name may be one of Python's; what it imports must hide nothing."""
    task, near = tmp_path / "statistics.py", tmp_path / "near.py"
    task.write_text("import json\n")
    (tmp_path / "random.py").touch()
    alone = with_task(None, task, tmp_path)
    assert (alone.task, list(alone.bodies), list(alone.folders)) == ("statistics.py", ["statistics.py"], [])
    near.touch()
    own = OwnCode(("near.py",), {"near.py": b""}, {"near.py": near}, {"": tmp_path})
    both = with_task(own, task, tmp_path)
    assert both.spec["imports"] == ["near.py"] and both.spec["task"] == "statistics.py"
    assert sorted(both.bodies) == ["near.py", "statistics.py"]
    assert list(own.bodies) == ["near.py"], "what models are looked up with has no task"
    task.write_text("import near\n")
    with pytest.raises(ImportProblem, match="hides Python's own module"):
        with_task(None, task, tmp_path)


TOP = """
from __future__ import annotations
from dataclasses import dataclass, field
from typing import Any
import near
from parts.inner import Inner
REVISION, SMOKE = 1, {}
@dataclass(frozen=True)
class Config:
    inner: Inner = field(default_factory=Inner)
    width: int = near.VALUE
def cautions(config: Config) -> list[str]:
    from parts import limits
    return [f"{config.width} is above {limits.MOST}"] if config.width > limits.MOST else []
def run(config: Config, context: Any) -> dict[str, Any]:
    return {"metrics": {"score": config.inner.depth * config.width * 1.0}}
"""
INNER = """
from __future__ import annotations
from dataclasses import dataclass
Depth = int
@dataclass(frozen=True)
class Inner:
    depth: Depth = 1
"""
TOP_STUDY = STUDY.replace("key: depth", "key: inner.depth").replace(", copied: {}, bare: {}", "")


def write_top(folder: Path, width: int) -> None:
    (folder / "parts").mkdir(parents=True)
    texts = {"near.py": f"VALUE = {width}\n", "parts/inner.py": INNER, "parts/limits.py": "MOST = 5\n"}
    for name, text in {**texts, "task.py": TOP, "tasks.yaml": TOP_STUDY}.items():
        (folder / name).write_text(text)


def test_a_task_imports_what_lies_beside_it_at_its_top(studies: Typed, tmp_path: Path) -> None:
    """Two studies whose modules have the same names, planned in turn in one process; edits of them; nothing stays."""
    for name, width in (("a", 3), ("b", 7)):
        write_top(tmp_path / name, width)
    a, b = (load_task("task.py", tmp_path / name) for name in "ab")
    for task, width, said in ((a, 3, ()), (b, 7, ("7 is above 5",)), (a, 3, ())):
        assert defaults(task.config) == {"inner": {"depth": 1}, "width": width}
        assert tuple(task.check([defaults(task.config)])[0].cautions) == said
    assert "7 is above 5" in studies("plan", "b/tasks.yaml")
    studies("run", "a/tasks.yaml", "--on", "inline")
    assert values() == [3.0, 6.0]

    Path("b/parts/limits.py").write_text("MOST = 6\n")
    assert "7 is above 6" in studies("plan", "b/tasks.yaml")
    Path("a/near.py").write_text("VALUE = 4\n")
    assert "2 trials" in studies("plan", "a/tasks.yaml")
    assert not {str(tmp_path / name) for name in ("a", "b", "a/parts", "b/parts")} & set(sys.path)
    assert not list(tmp_path.glob("[ab]/**/*.pyc"))


def test_what_is_wrong_beside_a_task_is_named(tmp_path: Path) -> None:
    write_top(tmp_path, 3)
    for text, said in (
        ("\nVALUE = 1 / 0\n", r"task\.py cannot be loaded: ZeroDivisionError: division by zero \(.*near\.py line 2\)"),
        ("VALUE = (\n", r"near\.py line 1: '\(' was never closed"),
        ("import nothing_of_that_name\n", r"No module named 'nothing_of_that_name' \(.*near\.py line 1\)"),
    ):
        (tmp_path / "near.py").write_text(text)
        with pytest.raises(TaskError, match=said):
            load_task("task.py", tmp_path)


def test_modules_may_import_the_task_and_its_answers_may_fail(studies: Typed, tmp_path: Path) -> None:
    write_top(tmp_path, 3)
    (tmp_path / "near.py").write_text(
        "VALUE = 3\nimport task\ndef most():\n    from task import REVISION\n    return 4 + REVISION\n"
    )
    (tmp_path / "parts" / "limits.py").write_text("import near\nMOST = near.most()\n")
    assert "to run    2 trials" in studies("plan", "tasks.yaml")
    studies("run", "tasks.yaml", "--on", "inline")
    assert values() == [3.0, 6.0]
    (tmp_path / "parts" / "limits.py").write_text("def least(): return 1 / 0\nMOST = least()\n")
    with pytest.raises(UsageError, match=r"limits\.py line 1, least: ZeroDivisionError: division by zero"):
        studies("plan", "tasks.yaml")


def test_a_package_goes_before_a_file_of_its_name(tmp_path: Path) -> None:
    write_top(tmp_path, 3)
    (tmp_path / "near").mkdir()
    (tmp_path / "near" / "__init__.py").write_text("VALUE = 8\n")
    task = load_task("task.py", tmp_path)
    assert defaults(task.config)["width"] == 8
    assert task.copied is not None and "near/__init__.py" in task.copied.bodies
    (tmp_path / "near" / "__init__.py").write_bytes(b"VALUE = 8\0")
    with pytest.raises(TaskError, match=r"near/__init__\.py: source code string cannot contain null bytes"):
        load_task("task.py", tmp_path)
