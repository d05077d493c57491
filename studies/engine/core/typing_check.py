"""Values against types: the one place where "1e-3" where a number belongs, or "cylce" for "cycle", is noticed.

Study files, task configs and model options are all described by Python types (dataclasses, ``Literal``, unions,
sequences). `conform` brings a value from YAML or JSON to its type and writes down everything that does not fit, each
with its path. Numbers take the type of their field, so that ``1`` and ``1.0`` cannot name two different trials.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Misfit:
    """One thing that is wrong. `at_key` when the key itself is the trouble, not its value."""

    path: Path
    text: str
    at_key: bool = False


def near(word: str, known: Iterable[str]) -> str:
    """``, did you mean "resources"?`` or nothing."""
    import difflib

    names = [str(name) for name in known]
    found = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if not found:  # another case, or a dotted key whose last part is right
        found = [name for name in names if name.lower() == word.lower() or name.endswith(f".{word}")][:1]
    return f', did you mean "{found[0]}"?' if found else ""


def hint(word: str, known: Iterable[str]) -> str:
    """The nearest name, or where none is near all there are."""
    names = [str(name) for name in known]
    there = f", there {'is' if len(names) == 1 else 'are'} {', '.join(names)}" if names else ""
    return near(word, names) or there


def show(value: Any) -> str:
    """A value as a user would write it in YAML."""
    return json.dumps(value, ensure_ascii=False, default=str)


def conform(kind: Any, value: Any, found: list[Misfit], path: Path = ()) -> Any:
    """The value as `kind`: dataclasses built, numbers of the right type, sequences as the type says."""
    if kind is Any or kind is object:
        return value
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, found, path)
    origin = get_origin(kind)
    if origin is Literal:
        return _choice(get_args(kind), value, found, path)
    if origin in (Union, types.UnionType):
        return _union(kind, get_args(kind), value, found, path)
    if origin in (list, tuple, Sequence, set, frozenset) or kind in (list, tuple, Sequence):
        return _sequence(kind, value, found, path)
    if origin in (dict, Mapping) or kind in (dict, Mapping):
        return _mapping(kind, value, found, path)
    return _scalar(kind, value, found, path)


def _scalar(kind: Any, value: Any, found: list[Misfit], path: Path) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is float and number:
        if not math.isfinite(value):
            found.append(Misfit(path, f"{value} is not a finite number"))
        return float(value) + 0.0  # -0.0 is 0.0
    if kind is int and number and float(value).is_integer():
        return int(value)
    if kind in (None, type(None)) and value is None:
        return None
    if (kind is bool and isinstance(value, bool)) or (kind is str and isinstance(value, str)):
        return value
    if kind in (int, float, bool, str, None, type(None)):
        found.append(Misfit(path, f"{show(value)} is not {describe(kind)}"))
    return value


def _choice(choices: tuple[Any, ...], value: Any, found: list[Misfit], path: Path) -> Any:
    for choice in choices:
        if type(choice) is type(value) and choice == value:
            return choice
    hint = near(value, [c for c in choices if isinstance(c, str)]) if isinstance(value, str) else ""
    found.append(Misfit(path, f"{show(value)} is not one of {', '.join(_bare(c) for c in choices)}{hint}"))
    return value


def _union(kind: Any, members: tuple[Any, ...], value: Any, found: list[Misfit], path: Path) -> Any:
    exact = [m for m in members if isinstance(m, type) and type(value) is m]
    attempts: list[list[Misfit]] = []
    for member in exact or members:
        missed: list[Misfit] = []
        fitted = conform(member, value, missed, path)
        if not missed:
            return fitted
        attempts.append(missed)
    deeper = [missed for missed in attempts if any(len(m.path) > len(path) or '"?' in m.text for m in missed)]
    if len(deeper) == 1:  # it is clear which member was meant: its own words are the better ones
        found.extend(deeper[0])
    else:
        found.append(Misfit(path, f"{show(value)} is not {describe(kind)}"))
    return value


def _sequence(kind: Any, value: Any, found: list[Misfit], path: Path) -> Any:
    if not isinstance(value, list | tuple):
        found.append(Misfit(path, f"{show(value)} is not {describe(kind)}"))
        return value
    arguments = get_args(kind)
    fixed = get_origin(kind) is tuple and arguments and arguments[-1] is not Ellipsis
    if fixed and len(arguments) != len(value):
        found.append(Misfit(path, f"{show(value)} has {len(value)} entries, {len(arguments)} are needed"))
        return value
    kinds = arguments if fixed else (arguments[0] if arguments else Any,) * len(value)
    items = [conform(k, item, found, (*path, i)) for i, (k, item) in enumerate(zip(kinds, value, strict=True))]
    return items if (get_origin(kind) or kind) is list else tuple(items)


def _mapping(kind: Any, value: Any, found: list[Misfit], path: Path) -> Any:
    if not isinstance(value, Mapping):
        found.append(Misfit(path, f"{show(value)} is not {describe(kind)}"))
        return value
    item_kind = (get_args(kind) or (str, Any))[1]
    return {key: conform(item_kind, item, found, (*path, key)) for key, item in value.items()}


@cache
def fields(kind: Any) -> dict[str, tuple[dataclasses.Field[Any], Any]]:
    """The keys a dataclass takes, each with its field and resolved type; metadata "key" renames one for files."""
    hints = get_type_hints(kind)
    return {f.metadata.get("key", f.name): (f, hints[f.name]) for f in dataclasses.fields(kind) if f.init}


def _dataclass(kind: Any, value: Any, found: list[Misfit], path: Path) -> Any:
    if isinstance(value, kind):
        return value
    if not isinstance(value, Mapping):
        found.append(Misfit(path, f"{show(value)} is not a mapping of {', '.join(fields(kind))}"))
        return value
    known, arguments, before = fields(kind), {}, len(found)
    for key, item in value.items():
        if key not in known:
            found.append(Misfit((*path, key), f"unknown key{near(str(key), known)}", at_key=True))
            continue
        field, hint = known[key]
        arguments[field.name] = conform(hint, item, found, (*path, key))
    for key, (field, _) in known.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and key not in value:
            found.append(Misfit(path, f"{key} is missing", at_key=True))
    if len(found) > before:
        return value
    try:
        return kind(**arguments)
    except (ValueError, TypeError) as error:  # the type's own rules, in __post_init__
        found.append(Misfit(path, str(error)))
        return value


_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    type(None): "null",
    None: "null",
}


def describe(kind: Any) -> str:
    """A type in words."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind in _WORDS:
        return _WORDS[kind]
    if origin is Literal:
        return "one of " + ", ".join(_bare(a) for a in arguments)
    if origin in (Union, types.UnionType):
        if {bool, int, float, str} <= set(arguments):
            return "one value" + "".join(f" or {describe(a)}" for a in arguments if get_origin(a) is not None)
        return " or ".join(describe(a) for a in arguments)
    if origin in (list, tuple, Sequence, set, frozenset) or kind in (list, tuple, Sequence):
        return "a list"
    return "a mapping" if origin in (dict, Mapping) or kind in (dict, Mapping) else "of the right type"


def _bare(value: Any) -> str:
    return value if isinstance(value, str) else show(value)


def plain(value: Any) -> Any:
    """A config as JSON sees it: dataclasses as dicts, tuples as lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in (sorted(value) if isinstance(value, set | frozenset) else value)]
    return value
