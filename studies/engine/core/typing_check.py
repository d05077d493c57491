"""Values against Python types: the validator of study files, recipes, launcher options, task and model options.

`validate` brings a value from YAML or JSON to its type and collects everything that does not fit, each with its path.
Numbers take the type of their field, so that ``1`` and ``1.0`` cannot name two different trials. Standard library only:
workers validate configs too, on machines without pydantic.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from studies.engine.core.suggest import suggest

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Issue:
    """One thing that is wrong, at a path. at_key: the key itself is wrong, not its value."""

    path: Path
    text: str
    at_key: bool = False


def validate(kind: Any, value: Any, issues: list[Issue], path: Path = ()) -> Any:
    """Return the value as `kind`: dataclasses built, numbers and sequences of their types. Appends to `issues`."""
    if kind is Any or kind is object or kind is type(value) is str:  # the last is most of what plans hold
        return value
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, issues, path)
    origin = get_origin(kind)
    if origin is Literal:
        return _literal(get_args(kind), value, issues, path)
    if origin in (Union, types.UnionType):
        return _union(kind, get_args(kind), value, issues, path)
    if (origin or kind) in _SEQUENCES:
        return _sequence(kind, value, issues, path)
    if (origin or kind) in _MAPPINGS:
        return _mapping(kind, value, issues, path)
    return _scalar(kind, value, issues, path)


_SEQUENCES = (list, tuple, Sequence, set, frozenset)
_MAPPINGS = (dict, Mapping)


def _scalar(kind: Any, value: Any, issues: list[Issue], path: Path) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is float and number:
        if not math.isfinite(value):
            issues.append(Issue(path, f"{value} is not a finite number"))
        return float(value) + 0.0  # -0.0 is 0.0
    if kind is int and number and float(value).is_integer():
        return int(value)
    if kind in (None, type(None)) and value is None:
        return None
    if (kind is bool and isinstance(value, bool)) or (kind is str and isinstance(value, str)):
        return value
    if kind in _TYPE_NAMES:
        issues.append(_mismatch(kind, value, path))
    return value


def _mismatch(kind: Any, value: Any, path: Path) -> Issue:
    return Issue(path, f"{to_yaml(value)} is not {type_name(kind)}")


def _literal(choices: tuple[Any, ...], value: Any, issues: list[Issue], path: Path) -> Any:
    for choice in choices:
        if type(choice) is type(value) and choice == value:
            return choice
    nearest = suggest(value, [c for c in choices if isinstance(c, str)]) if isinstance(value, str) else ""
    issues.append(Issue(path, f"{to_yaml(value)} is not {type_name(Literal[choices])}{nearest}"))
    return value


def _union(kind: Any, members: tuple[Any, ...], value: Any, issues: list[Issue], path: Path) -> Any:
    exact = [m for m in members if isinstance(m, type) and type(value) is m]
    attempts: list[list[Issue]] = []
    for member in exact or members:
        attempts.append([])
        found = validate(member, value, attempts[-1], path)
        if not attempts[-1]:
            return found
    deeper = [attempt for attempt in attempts if any(len(i.path) > len(path) or '"?' in i.text for i in attempt)]
    if len(deeper) == 1:  # it is clear which member was meant, and its own message is the better one
        issues.extend(deeper[0])
    else:
        issues.append(_mismatch(kind, value, path))
    return value


def _sequence(kind: Any, value: Any, issues: list[Issue], path: Path) -> Any:
    if not isinstance(value, list | tuple):
        issues.append(_mismatch(kind, value, path))
        return value
    arguments = get_args(kind)
    fixed = get_origin(kind) is tuple and arguments and arguments[-1] is not Ellipsis
    if fixed and len(arguments) != len(value):
        issues.append(Issue(path, f"{to_yaml(value)} has {len(value)} entries, {len(arguments)} are needed"))
        return value
    kinds = arguments if fixed else (arguments[0] if arguments else Any,) * len(value)
    items = [validate(k, item, issues, (*path, i)) for i, (k, item) in enumerate(zip(kinds, value, strict=True))]
    return items if (get_origin(kind) or kind) is list else tuple(items)


def _mapping(kind: Any, value: Any, issues: list[Issue], path: Path) -> Any:
    if not isinstance(value, Mapping):
        issues.append(_mismatch(kind, value, path))
        return value
    item_kind = (get_args(kind) or (str, Any))[1]
    return {key: validate(item_kind, item, issues, (*path, key)) for key, item in value.items()}


@cache
def fields(kind: Any) -> dict[str, tuple[dataclasses.Field[Any], Any]]:
    """Return the keys that a dataclass takes, each with its field and type; metadata "key" renames one for files."""
    hints = get_type_hints(kind)
    named = [f for f in dataclasses.fields(kind) if f.init and f.metadata.get("kind") != "further"]
    return {f.metadata.get("key", f.name): (f, hints[f.name]) for f in named}


@cache
def further_field(kind: Any) -> str:
    """Return the name of the field that holds all keys of a mapping that are none of its fields; empty: none does."""
    return next((f.name for f in dataclasses.fields(kind) if f.metadata.get("kind") == "further"), "")


def _dataclass(kind: Any, value: Any, issues: list[Issue], path: Path) -> Any:
    if isinstance(value, kind):
        return value
    if not isinstance(value, Mapping):
        issues.append(Issue(path, f"{to_yaml(value)} is not a mapping of {', '.join(fields(kind))}"))
        return value
    known, further, before = fields(kind), further_field(kind), len(issues)
    arguments: dict[str, Any] = {further: {}} if further else {}
    for key, item in value.items():
        if key not in known and further:  # its own rules check them
            arguments[further] |= item if key == further and isinstance(item, Mapping) else {key: item}
            continue
        if key not in known:
            issues.append(Issue((*path, key), f"unknown key{suggest(str(key), known)}", at_key=True))
            continue
        field, hint = known[key]
        arguments[field.name] = validate(hint, item, issues, (*path, key))
    for key, (field, _) in known.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and key not in value:
            issues.append(Issue(path, f"{key} is missing", at_key=True))
    if len(issues) > before:
        return value
    try:
        return kind(**arguments)
    except (ValueError, TypeError) as error:  # the type's own rules, in __post_init__
        issues.append(Issue(path, str(error)))
        return value


_TYPE_NAMES = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    type(None): "null",
    None: "null",
}


def type_name(kind: Any) -> str:
    """Describe a type for a message: ``a whole number or null``."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind in _TYPE_NAMES:
        return _TYPE_NAMES[kind]
    if origin is Literal:
        return "one of " + ", ".join(a if isinstance(a, str) else to_yaml(a) for a in arguments)
    if origin in (Union, types.UnionType):
        if {bool, int, float, str} <= set(arguments):
            return "one value" + "".join(f" or {type_name(a)}" for a in arguments if get_origin(a) is not None)
        return " or ".join(type_name(a) for a in arguments)
    if (origin or kind) in _SEQUENCES:
        return "a list"
    return "a mapping" if (origin or kind) in _MAPPINGS else "of the right type"


def to_yaml(value: Any) -> str:
    """Return a value as a user would write it in YAML, on one line."""
    return json.dumps(value, ensure_ascii=False, default=str)


def to_json(value: Any) -> Any:
    """Return a config as JSON has it: dataclasses as dicts, tuples as lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        named = {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
        further = named.pop(further_field(type(value)), {})
        return {**named, **further}
    if isinstance(value, Mapping):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_json(v) for v in (sorted(value) if isinstance(value, set | frozenset) else value)]
    return value
