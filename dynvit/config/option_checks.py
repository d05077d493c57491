"""Checks of a model's options; choices are read from its signature, so that they are defined once."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from types import UnionType
from typing import Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints


def check_choices(init: Callable[..., Any] | Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Raise ValueError if an argument that ``init`` annotates as a Literal, or a Literal or None, has another value.

    init: what is called with them, or the types by name.
    """
    for name, hint in _hints(init).items():
        parts = (hint, *get_args(hint)) if get_origin(hint) is not ClassVar else ()
        literals = [part for part in parts if get_origin(part) is Literal]
        allowed = [choice for part in literals for choice in get_args(part)]
        if not literals or name not in values:
            continue
        if values[name] in allowed or (values[name] is None and hint not in literals):
            continue
        choices = [str(choice) for choice in allowed]
        meant = did_you_mean(str(values[name]), choices)
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {values[name]!r}{meant}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the nearest known name as the end of a sentence; empty if none is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def _hints(typed: Any) -> Mapping[str, Any]:
    return typed if isinstance(typed, Mapping) else get_type_hints(typed)


def plain(value: Any) -> Any:
    """A number or list of numpy or torch as one of Python, in sequences too."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return type(value)(map(plain, value)) if type(value) in (list, tuple) else value


def check_types(cls: type | Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Raise ValueError if a field that ``cls`` annotates with text, numbers, flags or lists of them has another value.

    cls: the class, or the types by name.
    """
    for name, hint in _hints(cls).items():
        kinds = _kinds(hint) if name in values else ()
        if kinds and not any(_is(values[name], kind) for kind in kinds):
            expected = " or ".join(dict.fromkeys(_NAMES[kind] for kind in kinds if kind in _NAMES))
            raise ValueError(f"{name} must be {expected}, got {values[name]!r}")


_NAMES: dict[Any, str] = {
    str: "text", bool: "true or false", int: "a whole number", float: "a number",
    Sequence[int]: "a list of whole numbers", Sequence[float]: "a list of numbers",
}  # fmt: skip


def _kinds(hint: Any) -> tuple[Any, ...]:
    """The members of a hint that is made of `_NAMES` and None; else nothing."""
    kinds = (hint,) if hint in _NAMES else get_args(hint) if get_origin(hint) in (UnionType, Union) else ()
    return kinds if all(kind in _NAMES or kind is type(None) for kind in kinds) else ()


def _is(value: Any, kind: Any) -> bool:
    if get_args(kind):
        listed = isinstance(value, Sequence) and not isinstance(value, str)
        return listed and all(_is(entry, get_args(kind)[0]) for entry in value)
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, Integral) and value in (0, 1)
    if kind is float:
        return isinstance(value, Real) and math.isfinite(value)
    return isinstance(value, Integral if kind is int else kind)


def check_positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")


def check_not_negative(**values: float) -> None:
    for name, value in values.items():
        if not value >= 0:
            raise ValueError(f"{name} must not be negative, got {value}")


def check_heads(embed_dim: int, num_heads: int) -> None:
    if embed_dim % num_heads:
        raise ValueError(f"embed_dim {embed_dim} is not a multiple of num_heads {num_heads}")
