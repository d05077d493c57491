"""Installed packages that register by the entry point group ``dynvit.plugins``."""

import json
import os
import subprocess
import sys

import own_code
import pytest
import timm
import torch
from safetensors.torch import save_file

import dynvit
from dynvit import plugins
from dynvit.plugins import tables
from dynvit.reduction.reducer import REDUCERS

LOAD = sys.modules["dynvit.plugins.load"]
"""The module: the package has its function under that name."""


def installed(folder, source, value):
    """A package as pip leaves it, with one entry point."""
    own_code.write(folder, leaf_plugin=source)
    info = folder / "leaf_tools-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: leaf-tools\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[dynvit.plugins]\nleaves = {value}\n")


def asked(folder):
    question = {"call": "describe", "arguments": {}, "cwd": str(folder)}
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}
    line = json.dumps({**question, "environ": environ}) + "\n"
    command = [sys.executable, "-m", "dynvit.describe", "--check"]
    done = subprocess.run(command, input=line, capture_output=True, text=True, check=True, env=environ)
    return json.loads(done.stdout)


def test_a_function_is_called_and_a_module_imported(tmp_path):
    called = "def start():\n" + "".join(f"    {line}\n" for line in own_code.LOSS.strip().splitlines())
    for number, (source, value) in enumerate(((called, "leaf_plugin:start"), (own_code.LOSS, "leaf_plugin"))):
        folder = tmp_path / str(number)
        installed(folder, source, value)
        assert asked(folder)["result"]["losses"]["poly1"]["from"] == f"the installed plugin {value} of leaf-tools"


def test_a_broken_one_is_named(tmp_path):
    installed(tmp_path, "import dynvit\n1 / 0\n", "leaf_plugin")
    text = "PluginError: the installed plugin leaf_plugin of leaf-tools, in "
    assert (
        asked(tmp_path)["error"] == f"{text}{tmp_path / 'leaf_plugin.py'}, line 2: ZeroDivisionError: division by zero"
    )


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """An installed one of the version 1, which this process has not loaded yet; its copies are made by `copy`."""

    def source(version):
        reducer = f"{own_code.REDUCER}\nnorms.version = {version}\n".replace("\n", "\n    ")
        return f"def start():\n    from late_part import VERSION\n{reducer}\n    assert VERSION == {version}\n"

    def copy(version):
        folder = tmp_path / f"copy{version}"
        own_code.write(folder, leaf_plugin=source(version), late_part=f"VERSION = {version}")
        return str(folder)

    own_code.write(tmp_path, late_part="VERSION = 1")
    installed(tmp_path, source(1), "leaf_plugin:start")
    monkeypatch.syspath_prepend(str(tmp_path))
    LOAD._load_installed.cache_clear()
    yield copy
    plugins.load()
    for one in LOAD._load_installed():
        tables.drop(one.added)
    LOAD._load_installed.cache_clear()
    for name in ("leaf_plugin", "late_part"):
        sys.modules.pop(name, None)


def version_of_the_reducer():
    """As the file says in which it was defined."""
    import leaf_plugin

    return leaf_plugin.__file__, REDUCERS["norms"].score.__wrapped__.version


def test_a_copy_stands_for_what_is_installed(plugin, tmp_path):
    plugins.load()
    assert version_of_the_reducer() == (str(tmp_path / "leaf_plugin.py"), 1)
    for version in (2, 3, 2):
        folder = plugin(version)
        plugins.load([], [folder])
        assert version_of_the_reducer() == (f"{folder}/leaf_plugin.py", version)
    plugins.load()
    assert version_of_the_reducer() == (str(tmp_path / "leaf_plugin.py"), 1)


def test_what_was_installed_from_a_copy_is_not_loaded_again(plugin, monkeypatch):
    monkeypatch.syspath_prepend(plugin(2))
    plugins.load([], [plugin(2)])
    assert version_of_the_reducer()[1] == 2
    plugins.load([], [plugin(3)])
    assert version_of_the_reducer()[1] == 3


def test_a_trial_that_has_only_its_reducer_from_a_plugin(plugin, tmp_path):
    """Without a copy, as for a package of site-packages."""
    folder = tmp_path / "results" / "trials" / "abc"
    folder.mkdir(parents=True)
    model = {"name": "vit_tiny_patch16_224", "patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2}
    config = {"model": model, "reducer": {"name": "norms", "keep": 0.5, "locations": [1]}, "train": {"epochs": 1}}
    (folder / "spec.json").write_text(json.dumps({"task": "classify", "config": config}))
    options = {key: value for key, value in model.items() if key != "name"}
    built = timm.create_model(model["name"], **options, img_size=8, num_classes=10)
    data = json.dumps({"num_classes": 10, "in_chans": 3, "img_size": 8})
    save_file(built.state_dict(), folder / "last.safetensors", {"epoch": "1", "data": data})
    assert dynvit.load_trial(folder)(torch.zeros(1, 3, 8, 8)).shape == (1, 10)
