"""Names that own code cannot have: its folders are searched first, so that it would hide what dynvit imports."""

from __future__ import annotations

import re
import sys
from functools import cache
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path

from studies.engine.core.errors import shown

OURS = ("dynvit", "studies", "paper_tables")


def hidden_by(folder: Path) -> str:
    """Return which file or package of a folder of own code hides a module of Python or a package that dynvit needs,
    and what to do; empty where none does."""
    for path in sorted(folder.iterdir()):
        name = path.stem if path.suffix == ".py" else path.name if (path / "__init__.py").is_file() else ""
        if name in sys.stdlib_module_names:
            return hides(path, "Python's own module")
        if name and name not in OURS and _is_installed(name) and name in _needed():  # an unused studies.py does no harm
            return hides(path)
    return ""


def hides_ours(folder: Path, name: str) -> str:
    """Return the same of a module in a folder that own code imports, where its name is one of our packages'."""
    path = next((p for p in (folder / f"{name}.py", folder / name) if p.exists()), None)
    is_checkout = all((folder / ours / "__init__.py").is_file() for ours in OURS)
    return hides(path) if name in OURS and path is not None and not is_checkout else ""


def hides(path: Path, what: str = "the package") -> str:
    return f"{shown(path)} hides {what} {path.stem}: rename it"


def _is_installed(name: str) -> bool:
    return PathFinder.find_spec(name, [path for path in sys.path if path.endswith("site-packages")]) is not None


@cache
def _needed() -> frozenset[str]:
    """Return the names under which what dynvit requires, and what that requires, is imported. Takes a second."""
    found, open_ = set(), ["dynvit"]
    while open_:
        if (name := open_.pop()) in found:
            continue
        found.add(name)
        try:
            required = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        open_ += [_normal(re.split(r"[^\w.-]", line, maxsplit=1)[0]) for line in required if "extra ==" not in line]
    packages = metadata.packages_distributions().items()
    return frozenset(name for name, owners in packages if found & {_normal(owner) for owner in owners})


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
