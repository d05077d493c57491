"""dynvit described by a child process: whatever way a model is registered, kept by the sources, clear when it fails."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from studies.engine.catalog import description
from studies.engine.catalog.child import AnswerError, DescribeProcess, DescriptionError
from studies.engine.catalog.description import SHIPPED, Dynvit
from studies.engine.catalog.fingerprint import package_folder, source_fingerprint
from studies.engine.catalog.tasks import defaults, load_task
from studies.engine.cli.main import cli
from studies.engine.study import recipes

ROOT = Path(__file__).parents[3]


def dynvit_in(package: Path) -> Dynvit:
    return Dynvit(package, source_fingerprint(package))


def test_the_shipped_description_is_current() -> None:
    """After a change of dynvit: python -m studies.engine.catalog.description"""
    shipped = json.loads(SHIPPED.read_text(encoding="utf-8"))
    current = {"fingerprint": source_fingerprint(package_folder()), **description.current().child.ask("describe")}
    assert shipped == current, "python -m studies.engine.catalog.description renews it"


def test_recipes_are_described_as_studies_read_them() -> None:
    described = description.current().description["recipes"]
    assert sorted(described) == recipes.names()
    for name, found in described.items():
        assert repr(found["settings"]) == repr(recipes.find(name).settings), name


# ---- harmless refactorings


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package."""
    folder = tmp_path_factory.mktemp("checkout") / "dynvit"
    return Path(shutil.copytree(package_folder(), folder, ignore=shutil.ignore_patterns("__pycache__")))


def edit(file: Path, *changes: tuple[str, str]) -> None:
    text = file.read_text()
    for old, new in changes:
        assert old in text, (file, old)
        text = text.replace(old, new)
    file.write_text(text)


def test_five_harmless_refactorings_change_nothing_and_an_edit_is_seen(checkout: Path) -> None:
    models, before = checkout / "models", description.current().description
    copy = "VARIANTS = {name: {**preset} for name, preset in VARIANTS.items()}"
    edit(models / "evit/model.py", ("register(EViT, VARIANTS)", f"{copy}\nregister(EViT, VARIANTS)"))
    edit(
        models / "sret/model.py",
        ("from dynvit.registry import register", "from dynvit import registry"),
        ("register(SReT, VARIANTS)", "registry.register(SReT, VARIANTS)"),
    )
    edit(models / "mor_vit/model.py", ("register(MoRViT, VARIANTS)", "register(MoRViT, variants=VARIANTS)"))
    decorator = "from functools import partial\n\n\n@partial(register, variants=VARIANTS)\nclass LVViT("
    edit(models / "lv_vit/model.py", ("class LVViT(", decorator), ("\nregister(LVViT, VARIANTS)", ""))
    inheriting = """
class AViT(AViT):
    __doc__ = AViT.__doc__

    def __init__(self, drop_rate: float = 0.0, **options: Any) -> None:
        super().__init__(drop_rate=drop_rate, **options)


register(AViT, VARIANTS)"""
    edit(models / "a_vit/model.py", ("\nregister(AViT, VARIANTS)", inheriting))

    dynvit = dynvit_in(checkout)
    after = dynvit.description
    assert dynvit.source != description.current().source
    for part in ("models", "classes", "tasks", "recipes"):
        assert after[part] == before[part]
    dynvit.child.close()

    again = dynvit_in(checkout)
    assert again.description == after
    assert again.child._process is None  # from the cache

    edit(models / "evit/model.py", ("fuse_token: bool = True", "fuse_tokens: bool = True"))
    edit(
        models / "evit/model.py", ("self.fuse_token, self.locations = fuse_token,", "self.fuse_token, _ = fuse_tokens,")
    )
    edited = dynvit_in(checkout)
    options = edited.description["classes"]["dynvit.models.evit.model.EViT"]["options"]["properties"]
    assert "fuse_tokens" in options and "fuse_token" not in options
    edited.child.close()


# ---- models that cannot be built

STUDY = """\
study: small
task: classify
seeds: [0]
base:
  model: {name: evit_deit_tiny_patch16_224, patch_size: 4, embed_dim: 16, num_heads: 2, depth: 12}
axes:
  depth: {key: model.depth, values: [12, 3], baseline: 12}
  lr: {key: train.lr, values: [0.001, 0.002], baseline: 0.001}
design: [{grid: [depth, lr]}]
"""
REASON = "evit_deit_tiny_patch16_224 cannot be built: locations must be blocks of this model, 0 to 2, got 3"


def plan(*arguments: str) -> str:
    shown = CliRunner().invoke(cli, ["plan", "small.yaml", *arguments])
    assert shown.exit_code in (0, 2), shown.output
    return shown.output


def test_a_model_that_cannot_be_built_is_an_error_at_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(STUDY)
    assert f"small.yaml:7:42  axes.depth.values[1]: arm depth=3: {REASON}\n1 error\n" in plan()  # two arms have it
    shallow = STUDY.replace("depth: 12}", "depth: 3}").replace("[depth, lr]", "[lr]")
    depth = "  depth: {key: model.depth, values: [12, 3], baseline: 12}\n"
    (tmp_path / "small.yaml").write_text(shallow.replace(depth, ""))
    assert f"small.yaml:5:96  base.model.depth: arm baseline: {REASON}" in plan()


def test_set_may_not_make_a_model_impossible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(STUDY.replace("[12, 3]", "[12, 10]"))
    assert "error" not in plan()
    text = plan("--set", "model.locations=[9]")
    assert "--set  evit_deit_tiny_patch16_224 cannot be built: " not in text
    text = plan("--set", "model.locations=[10]")
    assert "--set  evit_deit_tiny_patch16_224 cannot be built: locations must be blocks" in text
    assert "[small depth=10 and 1 more]" in text


def test_a_teacher_that_cannot_be_built_is_refused_as_well() -> None:
    task = load_task("classify")
    whole = defaults(task.config)
    teacher = {"name": "evit_deit_tiny_patch16_224", "depth": 3}
    (answer,) = task.check([{**whole, "teacher": {**whole["teacher"], "model": teacher, "epochs": 1}}])
    assert answer.models == {"teacher.model": REASON.partition(": ")[2]}


# ---- the child process


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A package that is described by what the test writes into `describe/__main__.py`."""
    package = tmp_path / "dynvit"
    (package / "describe").mkdir(parents=True)
    (package / "tasks").mkdir()
    (package / "tasks" / "classify.py").touch()
    for folder in (package, package / "describe"):
        (folder / "__init__.py").touch()
    return package


def test_a_child_that_ends_says_why(broken: Path) -> None:
    main = broken / "describe" / "__main__.py"
    main.write_text("import sys, os\nsys.stdin.readline()\nos._exit(3)\n")
    with pytest.raises(DescriptionError, match=r"python -m dynvit.describe failed: exit code 3"):
        DescribeProcess(broken).ask("describe")
    main.write_text("import json\nfor _ in range(9):\n    input()\n    print(json.dumps({'error': 'KeyError: x'}))\n")
    child = DescribeProcess(broken)
    for _ in range(2):
        with pytest.raises(AnswerError, match="KeyError: x"):
            child.ask("describe")
    child.close()


def test_a_missing_torch_is_an_error_of_the_plan(broken: Path) -> None:
    (broken / "describe" / "__main__.py").write_text("import torch_that_is_not_there\n")
    (broken.parent / "small.yaml").write_text(STUDY)
    search = os.pathsep.join([str(broken.parent), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", "studies", "plan", "small.yaml"],
        cwd=broken.parent, env={**os.environ, "PYTHONPATH": search}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "ModuleNotFoundError: No module named 'torch_that_is_not_there'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_cache_that_cannot_be_written_is_done_without(broken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYNVIT_CACHE", "/proc/nothing")
    (broken / "describe" / "__main__.py").write_text('input()\nprint(\'{"result": {"tasks": {}}}\')\n')
    assert dynvit_in(broken).description == {"tasks": {}}


def test_the_child_ends_with_its_parent() -> None:
    code = (
        "import time; from studies.engine.catalog import description; child = description.current().child;"
        "child.ask('check', task='cost', configs=[]); print(child._process.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    until = time.monotonic() + 30
    while time.monotonic() < until and Path(f"/proc/{child}").exists():
        if "\nState:\tZ" in Path(f"/proc/{child}/status").read_text():
            break
        time.sleep(0.1)
    else:
        assert not Path(f"/proc/{child}").exists()
