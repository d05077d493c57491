"""Who may import whom, read from the source: a light path stays light, a package knows only what it should."""

import subprocess
import sys

import pytest
from architecture import (
    LARGEST_FOLDER,
    ORDER,
    ROOT,
    Import,
    circles,
    folders,
    imports,
    imports_of,
    level,
    modules,
    own,
    upward,
)

STANDARD = set(sys.stdlib_module_names)
HEAVY = {"torch", "timm", "ray", "mlflow", "submitit", "pandas", "pyarrow", "scipy", "seaborn", "matplotlib", "numpy"}
OWNERS = {  # the one file that knows a package, also inside functions
    "ray": "studies.engine.launchers.ray.launcher",
    "submitit": "studies.engine.launchers.slurm.launcher",
    "mlflow": "studies.engine.tracking.mlflow_runs",
    "seaborn": "paper_tables.figures.style",
}


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


# ---- the house as a whole


def test_imports_go_one_way():
    """The ordered lists of packages in architecture.py, lazy and type-only imports included."""
    assert upward() == []


def test_no_circles_of_files():
    assert circles() == []


def test_every_package_has_its_place():
    listed = {(root, name) for root, order in ORDER.items() for names in order for name in names}
    assert [m for m in modules() if level(m) is not None and level(m)[1] < 0] == []
    there = {(level(m)[0], m.removeprefix(f"{level(m)[0]}.").split(".")[0]) for m in modules() if level(m)}
    assert listed - there == set()


def test_no_folder_is_too_full():
    assert {name: count for name, count in folders().items() if count > LARGEST_FOLDER} == {}


def test_the_architecture_script_prints_and_judges():
    done = subprocess.run([sys.executable, ROOT / "tests" / "architecture.py"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    assert f"folders above {LARGEST_FOLDER} files: 0   upward imports: 0   circles: 0" in done.stdout


# ---- packages


def test_dynvit_needs_torch_timm_and_numpy_only():
    every = everything("dynvit")
    assert len(every) > 20
    every["dynvit.describe.recipes"] = [i for i in every["dynvit.describe.recipes"] if i.name != "yaml"]  # timm's own
    early = {m: [i for i in items if not i.late] for m, items in every.items()}
    assert wrong(early, allowed={"dynvit", "torch", "timm", "numpy"}) == []
    late = {m: [i for i in items if i.late] for m, items in every.items()}
    modes = "dynvit.profiling.execution_modes"  # onnxruntime is one of the modes that it times
    late[modes] = [i for i in late[modes] if i.name != "onnxruntime"]
    data = {"sklearn", "torchvision", "PIL", "safetensors"}
    assert wrong(late, allowed={"dynvit", "torch", "timm", "numpy", *data}) == []


def test_configs_need_the_standard_library_only():
    configs = {
        m: [i for i in items if not i.name.startswith("dynvit.config.")]
        for m, items in everything("dynvit.config").items()
    }
    assert "dynvit.config.classify" in configs
    assert wrong(configs) == []


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


@pytest.mark.parametrize("module", ["study.design", "planning.plan", "planning.identity", "study.schema"])
def test_planning_is_pure(module):
    found = reached(f"studies.engine.{module}")
    assert f"studies.engine.{module}" in found
    assert wrong(found, allowed={"studies", "pydantic", "pydantic_core", "yaml", "click"}) == []
    assert wrong(found, forbidden={"studies.engine.launchers", "studies.engine.tracking"}) == []


@pytest.mark.parametrize(
    "module",
    [
        "worker",
        "runtime.worker",
        "runtime.context",
        "storage.trial_folder",
        "storage.lease",
        "core.trial",
        "launchers.inline",
        "launchers.local",
    ],
)
def test_the_worker_runs_on_the_standard_library(module):
    """A GPU node needs nothing but the task's own packages."""
    found = reached(f"studies.engine.{module}")
    assert f"studies.engine.{module}" in found
    assert wrong(found, allowed={"studies"}) == []
    late = {m: [i for i in imports_of(m) if i.late] for m in found if m.startswith("studies.engine")}
    assert wrong(late, allowed={"studies"}) == []


@pytest.mark.parametrize("verb", ["list", "status", "plan", "logs"])
def test_looking_is_light(verb):
    found = reached("studies.__main__", f"studies.engine.cli.commands.{verb}")
    assert f"studies.engine.cli.commands.{verb}" in found
    assert wrong(found, forbidden=HEAVY) == []


def test_launchers_do_not_know_each_other():
    names = ("inline", "local", "ray", "slurm")
    for name in names:
        others = {f"studies.engine.launchers.{o}" for o in names if o != name}
        assert everything(f"studies.engine.launchers.{name}")
        assert wrong(everything(f"studies.engine.launchers.{name}"), forbidden=others) == []


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
    trial = "studies.engine.core.trial"
    assert own(f"{trial}.Trial") == {"studies", "studies.engine", "studies.engine.core", trial}
    assert "studies.engine.core.trial" in reached("studies.engine.storage.trial_folder")
