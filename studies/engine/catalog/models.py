"""The options a model takes, read from its source: names, types, defaults. Nothing is imported, least of all torch.

Our own models stand in `dynvit/models/*.py`: a literal table of variants, a class, and `register(Class, TABLE)`.
timm's models are entry point functions whose return annotation names the class.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from studies.engine.catalog import pysource
from studies.engine.catalog.pysource import Module, NotLiteral
from studies.engine.core.typing_check import to_json, validate

REQUIRED = object()
"""Stands where an option has no default."""
UNKNOWN = object()
"""Stands where a default is not a literal."""


@dataclass(frozen=True)
class Option:
    name: str
    kind: Any
    """A type for `conform`; Any where the source says nothing we understand."""
    default: Any


@dataclass(frozen=True)
class Model:
    name: str
    source: Path
    options: Mapping[str, Option]
    preset: Mapping[str, Any]
    """What the variant sets, over the class's defaults."""
    open: bool
    """Takes any further option (``**kwargs``)."""
    ours: bool

    def defaults(self, without: Sequence[str] = ()) -> dict[str, Any]:
        """Every option's value when nothing is asked for. Empty for timm's models: their presets are not literal."""
        if not self.ours:
            return {}
        known = {o.name: o.default for o in self.options.values()}
        return {
            name: to_json(validate(self.options[name].kind, value, []))
            for name, value in {**known, **self.preset}.items()
            if value not in (REQUIRED, UNKNOWN) and name in self.options and name not in without
        }


def model_names() -> list[str]:
    """Every model of this package, sorted."""
    return sorted(name for file in our_files() for _, table in registered(_ours(file)) for name in table)


def timm_names() -> list[str]:
    """timm's entry points, by their text; only wanted to suggest a name."""
    pattern = re.compile(r"^@register_model\s+def (\w+)\(", re.M)
    return [name for file in _files("timm") for name in pattern.findall(file.read_text(encoding="utf-8"))]


def find_model(name: str) -> Model | None:
    """The model of that timm name, ours first; None where neither package has it."""
    files = our_files()
    return _find(name, files, tuple(file.stat().st_mtime_ns for file in files))


@lru_cache(maxsize=256)
def _find(name: str, files: tuple[Path, ...], versions: tuple[int, ...]) -> Model | None:
    for file in files:
        if name not in file.read_text(encoding="utf-8"):  # parsing every model's file would cost `list` its speed
            continue
        module = _ours(file)
        for class_name, table in registered(module):
            if name in table:
                options, further = signature(module, class_name)
                return Model(name, file, options, table[name], further, ours=True)
    return _timm(name.partition(".")[0])


def registered(module: Module) -> Iterator[tuple[str, Mapping[str, Mapping[str, Any]]]]:
    """The ``register(Class, TABLE)`` calls of a module; a table that is no literal is not seen."""
    for call in module.calls:
        match call:
            case ast.Call(ast.Name("register"), [ast.Name(class_name), table]):
                try:
                    yield class_name, pysource.literal(table, module)
                except NotLiteral:
                    continue


def signature(module: Module, class_name: str) -> tuple[dict[str, Option], bool]:
    """The options of a class's ``__init__``, or of the class it inherits it from, and whether it takes any other."""
    if class_name not in module.classes:
        there = module.origin(class_name)
        return signature(*there) if there else ({}, True)
    node = module.classes[class_name]
    init = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
    if init is not None:
        return _options(init, module), init.args.kwarg is not None
    for base in bases:
        if base in module.classes or module.origin(base):
            return signature(module, base)
    return {}, True


def _options(init: ast.FunctionDef, module: Module) -> dict[str, Option]:
    positional = [*init.args.posonlyargs, *init.args.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(init.args.defaults)) + list(init.args.defaults)
    pairs = [*zip(positional, defaults, strict=True)][1:]  # without self
    pairs += zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True)
    return {a.arg: Option(a.arg, pysource.kind(a.annotation, module), _default(d, module)) for a, d in pairs}


def _default(node: ast.expr | None, module: Module) -> Any:
    if node is None:
        return REQUIRED
    try:
        return pysource.literal(node, module)
    except (NotLiteral, TypeError):
        return UNKNOWN


def _timm(name: str) -> Model | None:
    if not name.isidentifier():
        return None
    head = f"def {name}(".encode()
    for file in _files("timm"):
        if head not in file.read_bytes():
            continue
        module = pysource.read(file, file.parents[1])
        entry = module.functions.get(name)
        if entry is not None and any(
            isinstance(d, ast.Name) and d.id == "register_model" for d in entry.decorator_list
        ):
            if isinstance(entry.returns, ast.Name):
                options, further = signature(module, entry.returns.id)
            else:
                options, further = {}, True
            return Model(name, file, options, {}, further, ours=False)
    return None


def our_files() -> tuple[Path, ...]:
    return _files("dynvit")


def _files(package: str) -> tuple[Path, ...]:
    """`<package>/models/*.py`, found without importing the package."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return ()
    root = Path(next(iter(spec.submodule_search_locations)))
    files = [*(root / "models").glob("[!_]*.py"), *(root / "models").glob("*/model*.py")]
    return tuple(sorted(files))


def _ours(file: Path) -> Module:
    return pysource.read(file, file.parents[2])
