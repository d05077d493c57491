"""What own code registers by name beside what is ours: data sets, losses, metrics; and how their options are checked.

An extension is a function or a class; its keyword arguments are its options, with types and defaults.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_type_hints

from dynvit.config.option_checks import check_choices, check_types, did_you_mean

NAME = re.compile(r"[A-Za-z_][\w-]*")


def type_of_default(default: Any) -> Any:
    """Return the type of an option that only has a default; None where it says none. A whole number may be meant as any
    number."""
    return {bool: bool, int: int | float, float: float, str: str}.get(type(default))


@dataclass(frozen=True, eq=False)
class Extension:
    """make: what was registered. given: its arguments that are not options."""

    kind: str
    name: str
    make: Callable[..., Any]
    given: tuple[str, ...] = ()

    @property
    def signature_of(self) -> Callable[..., Any]:
        return self.make.__init__ if isinstance(self.make, type) else self.make

    @cached_property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """All that may be passed by name."""
        found = list(inspect.signature(self.make).parameters.values())
        return {p.name: p for p in found if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}

    @cached_property
    def options(self) -> dict[str, inspect.Parameter]:
        return {name: p for name, p in self.parameters.items() if name not in self.given}

    @cached_property
    def hints(self) -> dict[str, Any]:
        """Types of the options: as annotated, else as their defaults have them; none where that cannot be resolved."""
        try:
            found = get_type_hints(self.signature_of)
        except (NameError, TypeError):
            return {}
        return {name: found[name] for name in self.options if name in found} | {
            name: kind
            for name, p in self.options.items()
            if p.annotation is p.empty and (kind := type_of_default(p.default)) is not None
        }

    def check(self, options: Mapping[str, Any]) -> None:
        """Raise ValueError for an unknown option, with the nearest one, a missing one, or a value of another type."""
        for key in options:
            if key not in self.options:
                nearest = did_you_mean(key, self.options) or f"; it takes {', '.join(self.options) or 'none'}"
                raise ValueError(f"the {self.kind} {self.name} has no option {key}{nearest}")
        missing = [key for key, p in self.options.items() if p.default is p.empty and key not in options]
        if missing:
            raise ValueError(f"the {self.kind} {self.name} needs {' and '.join(missing)}")
        given = {key: options[key] for key in options if key in self.hints}
        try:
            check_types(self.hints, given)
            check_choices(self.hints, given)
        except ValueError as error:
            raise ValueError(f"the {self.kind} {self.name}: {error}") from None


@dataclass(frozen=True, eq=False)
class DataSet(Extension):
    channels: int = 3
    """1: gray; 3: colors."""
    classes: int | None = None
    """None: as many as it turns out to have."""


@dataclass(frozen=True, eq=False)
class Loss(Extension):
    factory: bool = False
    """`make` returns what is called with logits and target."""


@dataclass(frozen=True, eq=False)
class Metric(Extension):
    direction: Literal["max", "min"] = "max"
    """Which values are better."""
    unit: str = ""


DATA_SETS: dict[str, DataSet] = {}
LOSSES: dict[str, Loss] = {}
METRICS: dict[str, Metric] = {}


@dataclass
class Version:
    """Counts changes of what is registered, for what is cached by name."""

    number: int = field(default=0)


VERSION = Version()


def add(table: dict[str, Any], extension: Extension, taken: Collection[str] = ()) -> None:
    """Put an extension into its table. taken: names that are ours.

    Raises ValueError for a name that something else has, or is none, and for arguments that cannot be options.
    """
    kind, name = extension.kind, extension.name
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name for a {kind}: letters, digits, - and _")
    if name in taken:
        raise ValueError(f"dynvit has a {kind} {name} of its own: choose another name")
    if name in table and place_of(table[name].make) != place_of(extension.make):
        raise ValueError(f"the {kind} {name} is registered already, by {place_of(table[name].make)}")
    for parameter in inspect.signature(extension.make).parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise ValueError(f"the {kind} {name} takes {parameter}, which cannot be checked: name its options")
    table[name] = extension
    VERSION.number += 1


def check_called(decorator: str, name: Any) -> None:
    """Raise ValueError for a decorator without parentheses, which gets the function in place of a name."""
    if callable(name):
        raise ValueError(f'write @dynvit.{decorator}("{name.__name__}"): the decorator needs a name')


def place_of(thing: Any) -> str:
    """Return module and name of a function or class, by which it is the same again after it was defined anew."""
    return f"{thing.__module__}.{thing.__qualname__}"
