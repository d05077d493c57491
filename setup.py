"""Puts the commit that a wheel or an sdist is built from into it; everything else is in pyproject.toml."""

import json
import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = Path(__file__).resolve().parent
FILE = Path("studies/engine/storage/built.json")


def git(*arguments):
    done = subprocess.run(["git", "-C", str(HERE), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def stamp(folder):
    """Write sha and whether the tree was dirty; an unpacked sdist has the file already."""
    target = Path(folder) / FILE
    if git("rev-parse", "--show-toplevel") == str(HERE) and target.parent.is_dir():
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "dynvit", "studies")
        target.write_text(json.dumps({"sha": git("rev-parse", "HEAD"), "dirty": bool(changed)}) + "\n")


class BuildPy(build_py):
    def run(self):
        super().run()
        if not self.editable_mode:
            stamp(self.build_lib)


class Sdist(sdist):
    def make_release_tree(self, base_dir, files):
        super().make_release_tree(base_dir, files)
        stamp(base_dir)


setup(cmdclass={"build_py": BuildPy, "sdist": Sdist})
