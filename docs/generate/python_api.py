"""The Python interface: every public name of the packages, for mkdocstrings to describe."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TITLES = {
    "dynvit": "dynvit: models, reducers, costs",
    "studies": "studies: results and plans",
    "paper_tables": "paper_tables: rendering",
}


def python() -> str:
    """Return a section for each package that has public names."""
    found = {package: list(_public(package)) for package in TITLES}
    return "\n".join(
        f"## {TITLES[package]}\n\n" + "".join(f"::: {name}\n\n" for name in names)
        for package, names in found.items()
        if names
    )


def _public(package: str) -> Iterator[str]:
    """Yield the names of ``__all__``, then the classes that the package's functions return."""
    tree = ast.parse((ROOT / package / "__init__.py").read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            yield from (f"{package}.{name}" for name in ast.literal_eval(node.value) if name != "table_file")
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{package}.engine.api"):
            yield from (f"{node.module}.{alias.name}" for alias in node.names if alias.name[0].isupper())
