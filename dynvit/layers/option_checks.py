"""Checks of a model's options; choices are read from its signature, so that they are defined once."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints


def check_choices(init: Callable[..., Any], values: Mapping[str, Any]) -> None:
    """Raise ValueError if an argument that ``init`` annotates as a Literal, or a Literal or None, has another value."""
    for name, hint in get_type_hints(init).items():
        parts = (hint, *get_args(hint)) if get_origin(hint) is not ClassVar else ()
        literals = [part for part in parts if get_origin(part) is Literal]
        allowed = [choice for part in literals for choice in get_args(part)]
        if not literals or values[name] in allowed or (values[name] is None and hint not in literals):
            continue
        choices = [str(choice) for choice in allowed]
        near = difflib.get_close_matches(str(values[name]), choices, n=1, cutoff=0.5)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {values[name]!r}{meant}")


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
