"""Installed packages that register by the entry point group ``dynvit.plugins``."""

import json
import os
import subprocess
import sys

import own_code


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
