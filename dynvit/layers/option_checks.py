"""Checks of a model's options; choices are read from its signature, so that they are defined once."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints


def check_choices(init: Callable[..., Any], values: Mapping[str, Any]) -> None:
    """Raise ValueError if an argument that ``init`` annotates as a Literal has another value."""
    for name, hint in get_type_hints(init).items():
        if get_origin(hint) is not Literal or values[name] in get_args(hint):
            continue
        choices = [str(choice) for choice in get_args(hint)]
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
