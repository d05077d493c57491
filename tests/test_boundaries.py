"""Who may import whom, read from the source: a light path stays light, a package knows only what it should."""

import ast
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("dynvit", "studies", "paper_tables")
STANDARD = set(sys.stdlib_module_names)
HEAVY = {"torch", "timm", "ray", "mlflow", "submitit", "pandas", "pyarrow", "scipy", "seaborn", "matplotlib", "numpy"}
OWNERS = {  # the one file that knows a package, also inside functions
    "ray": "studies.engine.launchers.ray.launcher",
    "submitit": "studies.engine.launchers.slurm.launcher",
    "mlflow": "studies.engine.tracking.mirror",
    "seaborn": "paper_tables.figures.style",
}


class Import(NamedTuple):
    """One imported name. late: inside a function; typing: under `if TYPE_CHECKING`."""

    name: str
    late: bool
    typing: bool
    line: int

    @property
    def top(self) -> str:
        return self.name.split(".")[0]


def imports(source: str, module: str, is_package: bool = False) -> list[Import]:
    found: list[Import] = []

    def visit(node: ast.AST, late: bool, typing: bool) -> None:
        late = late or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name, late, typing, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")[: None if is_package and node.level == 1 else is_package - node.level]
                base = ".".join([*parts, *([node.module] if node.module else [])])
            found.extend(Import(f"{base}.{alias.name}", late, typing, node.lineno) for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.body:
                visit(child, late, True)
            for child in node.orelse:
                visit(child, late, typing)
        else:
            for child in ast.iter_child_nodes(node):
                visit(child, late, typing)

    visit(ast.parse(source), False, False)
    return found


@cache
def modules() -> dict[str, Path]:
    found = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports_of(module: str) -> tuple[Import, ...]:
    path = modules()[module]
    return tuple(imports(path.read_text(), module, path.name == "__init__.py"))


def own(name: str) -> set[str]:
    """Modules of ours that importing `name` runs: ``a.b.c`` runs a, a.b and, where it is a module, a.b.c."""
    parts = name.split(".")
    return {".".join(parts[:i]) for i in range(1, len(parts) + 1)} & set(modules())


def reached(*starts: str) -> dict[str, list[Import]]:
    """Modules of ours that run when `starts` are imported, and what each imports at module level."""
    found: dict[str, list[Import]] = {}
    waiting = [module for start in starts for module in own(start)]
    while waiting:
        module = waiting.pop()
        if module in found:
            continue
        found[module] = [i for i in imports_of(module) if not i.late and not i.typing]
        waiting += [target for i in found[module] for target in own(i.name)]
    return found


def under(*prefixes: str) -> list[str]:
    return [m for m in modules() if any(m == p or m.startswith(f"{p}.") for p in prefixes)]


def wrong(
    found: dict[str, list[Import]], allowed: set[str] | None = None, forbidden: set[str] | None = None
) -> list[str]:
    """`module:line name` of every import from outside `allowed`, or from `forbidden` (top names or dotted)."""

    def bad(item: Import) -> bool:
        if forbidden is not None:
            return any(item.name == name or item.name.startswith(f"{name}.") for name in forbidden)
        return item.top not in (allowed or set()) | STANDARD

    return [f"{module}:{i.line} {i.name}" for module, items in found.items() for i in items if bad(i)]


def everything(*prefixes: str) -> dict[str, list[Import]]:
    return {module: list(imports_of(module)) for module in under(*prefixes)}


# ---- packages


def test_dynvit_needs_torch_timm_and_numpy_only():
    every = everything("dynvit")
    assert len(every) > 20
    early = {m: [i for i in items if not i.late] for m, items in every.items()}
    assert wrong(early, allowed={"dynvit", "torch", "timm", "numpy"}) == []
    late = {m: [i for i in items if i.late] for m, items in every.items()}
    data = {"sklearn", "torchvision", "PIL", "safetensors"}
    assert wrong(late, allowed={"dynvit", "torch", "timm", "numpy", *data}) == []


def test_models_and_layers_know_nothing_of_training():
    below = everything("dynvit.models", "dynvit.layers")
    assert wrong(below, forbidden={"dynvit.tasks", "dynvit.train", "dynvit.data"}) == []


def test_layers_do_not_know_models():
    assert wrong(everything("dynvit.layers"), forbidden={"dynvit.models"}) == []


def test_reading_a_task_needs_the_standard_library_only():
    tasks = {m: [i for i in imports_of(m) if not i.late and not i.typing] for m in under("dynvit.tasks")}
    assert "dynvit.tasks.classify" in tasks
    assert wrong(tasks) == []


def test_paper_tables_knows_frames_only():
    forbidden = {"studies", "dynvit", "torch", "timm", "mlflow", "ray", "submitit"}
    assert wrong(everything("paper_tables"), forbidden=forbidden) == []


def test_studies_reach_models_and_tables_by_name():
    """The engine reads models and tasks as files and never imports torch; tables are called, late, in a few places."""
    every = everything("studies")
    assert wrong(every, forbidden={"torch", "timm", "torchvision", "dynvit", "numpy", "seaborn", "matplotlib"}) == []
    early = {m: [i for i in items if not i.late and not i.typing] for m, items in every.items()}
    assert wrong(early, forbidden={"paper_tables"}) == []


# ---- the engine


@pytest.mark.parametrize("name", sorted(OWNERS))
def test_a_heavy_package_has_one_owner(name):
    users = {m for m in modules() if any(i.top == name for i in imports_of(m))}
    assert users <= {OWNERS[name]}


def test_nothing_heavy_at_module_level_of_the_engine():
    early = {m: [i for i in items if not i.late and not i.typing] for m, items in everything("studies").items()}
    early.pop(OWNERS["ray"]), early.pop(OWNERS["submitit"], None)
    assert wrong(early, forbidden=HEAVY) == []


@pytest.mark.parametrize("module", ["design", "plan", "identity", "schema"])
def test_planning_is_pure(module):
    found = reached(f"studies.engine.{module}")
    assert wrong(found, allowed={"studies", "pydantic", "yaml", "click"}) == []
    assert wrong(found, forbidden={"studies.engine.jobs.launcher", "studies.engine.tracking.mirror"}) == []


@pytest.mark.parametrize(
    "module", ["worker", "follower", "store", "trial", "context", "taskfile", "claim", "launch.inline", "launch.local"]
)
def test_the_worker_runs_on_the_standard_library(module):
    """A GPU node needs nothing but the task's own packages."""
    found = reached(f"studies.engine.{module}")
    assert wrong(found, allowed={"studies"}) == []
    late = {m: [i for i in imports_of(m) if i.late] for m in found if m.startswith("studies.engine")}
    assert wrong(late, allowed={"studies"}) == []


@pytest.mark.parametrize("verb", ["list", "status", "plan"])
def test_looking_is_light(verb):
    found = reached("studies.__main__", f"studies.engine.verbs.{verb}")
    assert wrong(found, forbidden=HEAVY) == []


def test_launchers_do_not_know_each_other():
    for name in ("inline", "ray", "slurm"):
        if f"studies.engine.launchers.{name}@" in modules():
            others = {f"studies.engine.jobs.launcher.{o}" for o in ("inline", "ray", "slurm") if o != name}
            assert wrong(everything(f"studies.engine.launchers.{name}@"), forbidden=others) == []
    upward = {f"studies.engine.{m}" for m in ("cli", "verbs", "drive", "driver", "track", "collect")}
    assert wrong(everything("studies.engine.jobs.launcher"), forbidden=upward) == []
    assert (
        wrong(
            everything("studies.engine.tracking.mirror"),
            forbidden={"studies.engine.jobs.launcher", "studies.engine.cli.main"},
        )
        == []
    )


def test_lower_layers_do_not_know_upper_ones():
    order = [("store", "trial", "claim"), ("plan", "collect", "track"), ("drive", "driver"), ("cli", "verbs")]
    for i, layer in enumerate(order):
        above = {f"studies.engine.{name}" for upper in order[i + 1 :] for name in upper}
        assert wrong(everything(*(f"studies.engine.{name}" for name in layer)), forbidden=above) == []


def test_asking_whether_tables_are_fresh_draws_nothing():
    found = reached("paper_tables")
    assert wrong(found, forbidden={"seaborn", "matplotlib"}) == []


# ---- this file's own reading


def test_reading_of_imports():
    source = """
from __future__ import annotations
import os, torch.nn as nn
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import ray
else:
    import yaml
try:
    import numpy
except ImportError:
    numpy = None
def f():
    from mlflow.client import Client
class A:
    import pandas
from . import near
from .deep import far
from ..other import away
"""
    found = {i.name: i for i in imports(source, "a.b.c")}
    assert found["ray"].typing
    assert not found["yaml"].typing
    assert found["mlflow.client.Client"].late
    assert not found["numpy"].late
    assert not found["pandas"].late
    assert {"torch.nn", "a.b.near", "a.b.deep.far", "a.other.away"} <= set(found)
    assert {"a.b.c.near", "a.b.c.deep.far", "a.b.other.away"} <= {i.name for i in imports(source, "a.b.c", True)}


def test_wrong_imports_are_found():
    items = {"m": imports("import torch\nfrom mlflow import client\nimport json\nimport raylib", "m")}
    assert wrong(items) == ["m:1 torch", "m:2 mlflow.client", "m:4 raylib"]
    assert wrong(items, allowed={"torch", "raylib"}) == ["m:2 mlflow.client"]
    assert wrong(items, forbidden={"mlflow.client", "ray"}) == ["m:2 mlflow.client"]


def test_importing_a_module_runs_its_packages():
    assert own("studies.engine.storage.trial_folder.Store") == {
        "studies",
        "studies.engine",
        "studies.engine.storage.trial_folder",
    }
    assert "studies.engine.core.trial" in reached("studies.engine.storage.trial_folder")
