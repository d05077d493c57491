"""A snapshot has the bytecode of files that were last written well before they were compiled, and of no others."""

import errno
import os
import py_compile
import subprocess
import sys
import time
from importlib.util import cache_from_source
from pathlib import Path

import pytest

from studies.engine.storage import code_snapshot


def snapshot(tree, results, monkeypatch):
    monkeypatch.setattr(code_snapshot, "root", lambda: tree)
    monkeypatch.setattr(code_snapshot, "source", dict)  # else this process would keep that of the tree as its own
    code_snapshot.fingerprint.cache_clear()
    return code_snapshot.take(results)


def compiled(file):
    return Path(cache_from_source(str(file)))


def said(folder):
    found = subprocess.run([sys.executable, "-c", "import dynvit.a"], cwd=folder, capture_output=True, text=True)
    return found.stdout + found.stderr


@pytest.fixture
def tree(tmp_path):
    folder = tmp_path / "tree"
    (folder / "dynvit").mkdir(parents=True)
    (folder / "dynvit/__init__.py").touch()
    return folder


def test_what_is_compiled_long_after_it_was_written(tree, tmp_path, monkeypatch):
    file = tree / "dynvit/a.py"
    file.write_text("print('first')\nraise ValueError\n")
    os.utime(file, (time.time() - 60,) * 2)
    py_compile.compile(str(file))
    made = snapshot(tree, tmp_path, monkeypatch)
    assert compiled(made / "dynvit/a.py").read_bytes() == compiled(file).read_bytes()
    before = compiled(made / "dynvit/a.py").stat().st_mtime_ns
    assert "first" in said(made) and f'{made}/dynvit/a.py", line 2' in said(made)
    assert compiled(made / "dynvit/a.py").stat().st_mtime_ns == before  # taken, not made anew


def test_a_disk_that_is_full_before_the_end(tree, tmp_path, monkeypatch):
    """Half of it would be there for ever, and no import of the file would work."""
    file = tree / "dynvit/a.py"
    file.write_text("print('first')\n")
    os.utime(file, (time.time() - 60,) * 2)
    py_compile.compile(str(file))
    write = Path.write_bytes

    def full(self, data):
        write(self, data[:20])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space left"):
            snapshot(tree, tmp_path, patch)
    assert not list((tmp_path / "code").iterdir())
    assert said(snapshot(tree, tmp_path, monkeypatch)) == "first\n"


def test_an_edit_in_the_same_second(tree, tmp_path, monkeypatch):
    """Of equal size and whole second: Python itself would run the bytecode."""
    file = tree / "dynvit/a.py"
    file.write_text("print('first')\n")
    py_compile.compile(str(file))
    of_first = file.stat().st_mtime
    file.write_text("print('other')\n")
    os.utime(file, (of_first,) * 2)
    made = snapshot(tree, tmp_path, monkeypatch)
    assert not compiled(made / "dynvit/a.py").exists()
    assert said(made) == "other\n"


def test_an_edit_after_it_was_compiled(tree, tmp_path, monkeypatch):
    file = tree / "dynvit/a.py"
    file.write_text("print('first')\n")
    os.utime(file, (time.time() - 60,) * 2)
    py_compile.compile(str(file))
    file.write_text("print('other')\n")
    assert said(snapshot(tree, tmp_path, monkeypatch)) == "other\n"
