"""Who imports whom, read from the source. ``python tests/architecture.py`` prints folders, upward imports, circles.

`ORDER` is the one list of packages: each may import itself and those before it, inside functions and under
``if TYPE_CHECKING`` too.
"""

from __future__ import annotations

import ast
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("dynvit", "studies", "paper_tables")
LARGEST_FOLDER = 20

ORDER = {
    "dynvit": (
        ("config",),
        ("fast_import", "output", "tokens", "context", "rng", "trunks", "registry", "interface"),
        ("checkpoint",),
        ("layers",),
        ("macs",),
        ("reduction",),
        ("reducers",),
        ("models",),
        ("plugins",),
        ("profiling",),
        ("analysis",),
        ("data",),
        ("train",),
        ("tasks",),
        ("describe",),
    ),
    "studies.engine": (
        ("core",),
        ("storage",),
        ("runtime",),
        ("worker",),
        ("catalog",),
        ("study",),
        ("jobs",),
        ("launchers",),
        ("planning",),
        ("execution",),
        ("results",),
        ("tracking",),
        ("diagnostics",),
        ("cli",),
        ("api",),
    ),
    "paper_tables": (
        ("core",),
        ("schema",),
        ("data",),
        ("tables",),
        ("claims",),
        ("figures",),
        ("formats",),
        ("validate",),
        ("site",),
        ("view",),
    ),
}
"""From the ground up. A package's own ``__init__`` and ``__main__`` are its door and may import all of it."""


class Import(NamedTuple):
    """One imported name. late: inside a function; typing: under ``if TYPE_CHECKING``."""

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


def target(name: str) -> str | None:
    """The module of ours that an imported name comes from."""
    return max(own(name), key=len, default=None)


def level(module: str) -> tuple[str, int] | None:
    """The list a module stands in and its place there; None for a door (``__init__``, ``__main__``)."""
    for root, order in ORDER.items():
        rest = module.removeprefix(f"{root}.").split(".")
        if module != root and module.startswith(f"{root}.") and rest[0] != "__main__":
            places = [i for i, names in enumerate(order) if rest[0] in names]
            return root, places[0] if places else -1
    return None


def upward() -> list[str]:
    """``module:line name`` of every import from a package that stands later in its list, or in none."""
    found = []
    for module in modules():
        here = level(module)
        for item in imports_of(module) if here else ():
            there = level(target(item.name) or "")
            if (
                here is not None
                and there is not None
                and there[0] == here[0]
                and (there[1] > here[1] or -1 in (there[1], here[1]))
            ):
                found.append(f"{module}:{item.line} {item.name}")
    return found


def circles() -> list[list[str]]:
    """Groups of files that import each other in a ring, lazy and type-only imports included (Tarjan's algorithm)."""
    graph = {m: {t for i in imports_of(m) if (t := target(i.name)) and t != m} for m in modules()}
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    sys.setrecursionlimit(10_000)
    for node in graph:
        if node not in index:
            visit(node)
    return found


def folders() -> dict[str, int]:
    """Python files of every folder of the repository, tests and benchmarks included."""
    counts: dict[str, int] = {}
    for top in (*PACKAGES, "tests", "benchmarks"):
        for path in (ROOT / top).rglob("*.py"):
            name = path.parent.relative_to(ROOT).as_posix()
            counts[name] = counts.get(name, 0) + 1
    return counts


def main() -> int:
    for name, count in sorted(folders().items()):
        print(f"{count:4}  {name}")
    large = [name for name, count in folders().items() if count > LARGEST_FOLDER]
    counts = f"upward imports: {len(upward())}   circles: {len(circles())}"
    print(f"\nfolders above {LARGEST_FOLDER} files: {len(large)}   {counts}")
    for line in upward():
        print("upward", line)
    for group in circles():
        print("circle", " ".join(group))
    return int(bool(large or upward() or circles()))


if __name__ == "__main__":
    sys.exit(main())
