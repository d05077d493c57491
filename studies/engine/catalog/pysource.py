"""A Python module read, not run: its literal constants, classes, imports, and annotations as types."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Union


class NotLiteral(ValueError):
    """The expression needs running."""


@dataclass(frozen=True, eq=False)
class Module:
    """Top-level names of one file. `root` is the package's folder: imports are followed inside it."""

    file: Path
    root: Path
    assigned: Mapping[str, ast.expr]
    classes: Mapping[str, ast.ClassDef]
    functions: Mapping[str, ast.FunctionDef]
    imported: Mapping[str, tuple[str, str]]
    calls: Sequence[ast.Call]
    """Calls that stand as statements of their own, such as ``register(SReT, VARIANTS)``."""

    def origin(self, name: str) -> tuple[Module, str] | None:
        """The module of the same package that an imported name comes from, and its name there."""
        source, original = self.imported.get(name, ("", ""))
        package, _, rest = source.partition(".")
        if package != self.root.name:
            return None
        stem = self.root.joinpath(*rest.split(".")) if rest else self.root
        for file in (stem.with_suffix(".py"), stem / "__init__.py"):
            if file.is_file():
                return read(file, self.root), original
        return None


def read(file: Path, root: Path) -> Module:
    return _read(file, root, file.stat().st_mtime_ns)


@lru_cache(maxsize=512)
def _read(file: Path, root: Path, version: int) -> Module:
    tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
    assigned: dict[str, ast.expr] = {}
    imported: dict[str, tuple[str, str]] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            assigned[node.targets[0].id] = node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            assigned[node.target.id] = node.value
        elif isinstance(node, ast.ImportFrom):
            source = _absolute(node, file, root)
            imported.update({alias.asname or alias.name: (source, alias.name) for alias in node.names})
    return Module(
        file,
        root,
        assigned,
        {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)},
        {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)},
        imported,
        [n.value for n in tree.body if isinstance(n, ast.Expr) and isinstance(n.value, ast.Call)],
    )


def _absolute(node: ast.ImportFrom, file: Path, root: Path) -> str:
    if not node.level:
        return node.module or ""
    package = [root.name, *file.relative_to(root).parent.parts]
    return ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])


_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.BitOr: operator.or_,
}


def literal(node: ast.expr, module: Module) -> Any:
    """The value of an expression made of literals and of constants with such values; NotLiteral otherwise."""
    match node:
        case ast.Constant(value):
            return value
        case ast.Tuple(items):
            return tuple(literal(item, module) for item in items)
        case ast.List(items):
            return [literal(item, module) for item in items]
        case ast.Dict(keys, values):
            return _literal_dict(keys, values, module)
        case ast.Call(ast.Name("dict"), merged, keywords):
            named = [None if k.arg is None else ast.Constant(k.arg) for k in keywords]
            values = [*merged, *(k.value for k in keywords)]
            return _literal_dict([*(None for _ in merged), *named], values, module)
        case ast.UnaryOp(ast.USub(), operand):
            return -literal(operand, module)
        case ast.BinOp(left, op, right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](literal(left, module), literal(right, module))
        case ast.Name(name) if name in module.assigned:
            return literal(module.assigned[name], module)
        case ast.Name(name):
            there = module.origin(name)
            if there is not None and there[1] in there[0].assigned:
                return literal(there[0].assigned[there[1]], there[0])
    raise NotLiteral(ast.unparse(node))


def _literal_dict(keys: Sequence[ast.expr | None], values: Sequence[ast.expr], module: Module) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for key, value in zip(keys, values, strict=True):
        if key is None:  # **other
            found.update(literal(value, module))
        else:
            found[literal(key, module)] = literal(value, module)
    return found


_SCALARS = {"int": int, "float": float, "str": str, "bool": bool, "None": None}
_LISTS = ("Sequence", "Iterable", "list", "List")
_TUPLES = ("tuple", "Tuple")
_MAPPINGS = ("dict", "Dict", "Mapping")


def kind(node: ast.expr | None, module: Module) -> Any:
    """The type an annotation means, for `conform`; Any where it is none of ours (a callable, a module...)."""
    match node:
        case None:
            return Any
        case ast.Constant(None):
            return None
        case ast.Constant(str(text)):
            return kind(ast.parse(text, mode="eval").body, module)
        case ast.BinOp(left, ast.BitOr(), right):
            return _union([kind(left, module), kind(right, module)])
        case ast.Name(name):
            return _named(name, module)
        case ast.Subscript(ast.Name(name) | ast.Attribute(_, name), inner):
            return _generic(name, inner.elts if isinstance(inner, ast.Tuple) else [inner], module)
    return Any


def _named(name: str, module: Module) -> Any:
    if name in _SCALARS:
        return _SCALARS[name]
    if name in module.assigned:
        return kind(module.assigned[name], module)
    if name in (*_LISTS, *_TUPLES):
        return Sequence[Any]
    if name in _MAPPINGS:
        return Mapping[str, Any]
    there = module.origin(name)
    return kind(there[0].assigned.get(there[1]), there[0]) if there else Any


def _generic(name: str, inner: list[ast.expr], module: Module) -> Any:
    if name == "Literal":
        try:
            return Literal[tuple(literal(item, module) for item in inner)]
        except NotLiteral:
            return Any
    kinds = [Any if isinstance(item, ast.Constant) and item.value is ... else kind(item, module) for item in inner]
    if name == "Optional":
        return _union([*kinds, None])
    if name == "Union":
        return _union(kinds)
    if name in _LISTS or (name in _TUPLES and isinstance(inner[-1], ast.Constant) and inner[-1].value is ...):
        return Sequence[kinds[0]]  # type: ignore[valid-type]
    if name in _TUPLES:
        return tuple[tuple(kinds)]  # type: ignore[misc]
    return Mapping[str, kinds[-1]] if name in _MAPPINGS else Any  # type: ignore[valid-type]


def _union(kinds: Sequence[Any]) -> Any:
    return Any if Any in kinds else Union[tuple(kinds)]  # noqa: UP007 - made at run time
