"""A process that skips Python's last collections loses nothing of the user's: with own code it skips none."""

import subprocess
import sys

import pytest

SCRIPT = """
import atexit, sys
from studies.engine.core.last_collections import skip_last_collections

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


@pytest.mark.parametrize(
    ("skips", "imports", "searched"),
    [
        (True, "", False),
        (True, "import json, yaml, studies, dynvit.config", False),
        (True, "import own", True),
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
