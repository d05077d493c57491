"""A process that skips Python's last collections loses nothing of the user's: with own code it skips none."""

import subprocess
import sys
import sysconfig
from types import ModuleType, SimpleNamespace

import pytest

from studies.engine.core import last_collections
from studies.engine.runtime import own_modules

SCRIPT = """
import atexit, sys
from studies.engine.core.last_collections import expect_own_code, skip_last_collections

class Told:
    def __del__(self):
        print("end of a circle", flush=True)

if {skips}:
    skip_last_collections()
{imports}
atexit.register(lambda: print("registered later", file=sys.stderr, flush=True))
circle = Told()
circle.me = circle
del circle
sys.modules["triton"] = sys  # as after a training
sys.exit(7)
"""
OWN = """
kept = open("kept", "w")
kept.write("no one closes this file")

def uses_it():
    kept.write("or ever will")
"""
CIRCLE = """
class Holder:
    pass

kept = Holder()
kept.me = kept
kept.file = open("kept", "w")
kept.file.write("no one closes this file")
"""


@pytest.mark.parametrize(
    ("skips", "imports", "searched"),
    [
        (True, "", False),
        (True, "import json, yaml, studies, dynvit.config", False),
        (True, "import own", True),
        (True, "expect_own_code()", True),
        (False, "", True),
    ],
)
def test_what_still_happens_at_the_end(tmp_path, skips, imports, searched):
    (tmp_path / "own.py").write_text(OWN)
    script = f"import sys; sys.path.append({str(tmp_path)!r})" + SCRIPT.format(skips=skips, imports=imports)
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert ended.returncode == 7
    assert ended.stderr == "registered later\n"
    assert ended.stdout == "end of a circle\n" * searched
    assert not imports.endswith("own") or (tmp_path / "kept").read_text() == "no one closes this file"


ASIDE = """
import gc
from studies.engine.core.last_collections import set_imports_aside, skip_last_collections

{first}
set_imports_aside()
print(gc.get_freeze_count() > 0)
kept = gc.get_freeze_count()
set_imports_aside()
print(gc.get_freeze_count() == kept)
import own
own.kept.circle = own
"""


@pytest.mark.parametrize(
    ("first", "aside"),
    [("skip_last_collections()", True), ("", False), ("skip_last_collections()\nimport own", False)],
)
def test_what_is_imported_before_own_code_is_set_aside_once(tmp_path, first, aside):
    """Only in processes of ours, and never own code: a file that it left open in a circle is written."""
    (tmp_path / "own.py").write_text(CIRCLE)
    script = f"import sys; sys.path.append({str(tmp_path)!r})" + ASIDE.format(first=first)
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert ended.stdout == f"{aside}\nTrue\n"
    assert (tmp_path / "kept").read_text() == "no one closes this file"


def test_installed_plugins_are_someones_own(monkeypatch):
    told = []
    monkeypatch.setattr(own_modules, "expect_own_code", lambda: told.append("own"))
    monkeypatch.setattr(own_modules, "import_module", lambda _: SimpleNamespace(load=lambda *given: told.extend(given)))
    own_modules._load(["theirs"], ["copy"])
    assert told == ["own", ["theirs"], ["copy"]]


def test_the_installed_command_is_not_own_code(monkeypatch):
    command = ModuleType("__main__")
    command.__file__ = f"{sysconfig.get_path('scripts')}/studies"
    monkeypatch.setattr(sys, "modules", {"__main__": command})
    assert not last_collections._has_own_code()
    command.__file__ = "/home/me/analysis.py"
    assert last_collections._has_own_code()
