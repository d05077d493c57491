"""Own token reducers: a class of the reducers' base, or a function that says which tokens matter."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, make_dataclass
from functools import wraps
from typing import Any, TypeVar, get_type_hints

import torch
from torch import Tensor

from dynvit.config.extensions import NAME, check_called, type_of_default
from dynvit.layers.full_precision import at_least_float32, autocast_off
from dynvit.layers.token_gather import top_tokens
from dynvit.reduction.grouping import Grouping, Places
from dynvit.reduction.keeping import Keeping
from dynvit.reduction.reducer import Reducer, add_reducer
from dynvit.reduction.signals import Signals
from dynvit.reduction.stream import Stream

Thing = TypeVar("Thing", bound=Callable[..., Any])
ATTENTION = "attention"


def register_reducer(name: str) -> Callable[[Thing], Thing]:
    """Register a token reducer: ``dynvit.reduce(model, method="norms")`` and ``reducer: {name: norms, keep: 0.7}``.

    ::

        @dynvit.register_reducer("norms")
        def norms(tokens, attention, power: float = 2.0):
            return tokens.norm(dim=-1) ** power         # the highest stay

    A function of the patch tokens ``[B, N, D]`` after a block's attention that returns how much each matters,
    ``[B, N]``. One with an argument `attention` is given the class token's attention to them too, ``[B, N]``, mean over
    heads. The method has the options `keep` and `locations` besides its own. Or a class that inherits
    ``dynvit.Reducer`` or ``dynvit.Keeping``; its annotated fields are its options.
    """
    check_called("register_reducer", name)

    def register(thing: Thing) -> Thing:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name for a reducer: letters, digits, - and _")
        if not isinstance(thing, type):
            _from_function(name, thing)
            return thing
        if not issubclass(thing, Reducer):
            raise ValueError(f"the reducer {name} is a function, or a class that inherits dynvit.Reducer")
        thing.name = name
        made = thing if "__dataclass_params__" in vars(thing) else dataclass(frozen=True)(thing)
        add_reducer(made)
        return made  # type: ignore[return-value]

    return register


@dataclass(frozen=True)
class _Scored(Keeping):
    """Keeps the tokens that a function gives the highest scores, in their order."""

    def group(self, stream: Stream, signals: Signals | None, kept: int, block: int, places: Places) -> Grouping:
        assert signals is not None
        patches_BND = stream.x_BND[:, places.prefix :]
        given = {ATTENTION: signals.class_row()[:, places.prefix :]} if self.needs_class_token else {}
        with autocast_off(patches_BND):
            score_BN = self.score(at_least_float32(patches_BND), **given)  # type: ignore[attr-defined]
        expected = tuple(patches_BND.shape[:2])
        if not isinstance(score_BN, Tensor) or tuple(score_BN.shape) != expected:
            found = list(score_BN.shape) if isinstance(score_BN, Tensor) else type(score_BN).__name__
            raise ValueError(f"the reducer {self.name} returns a score per token, {list(expected)}, not {found}")
        top_BK = top_tokens(score_BN, kept).sort(1).values + places.prefix
        return Grouping(torch.cat([places.front(top_BK.shape[0]), top_BK], 1))


def _from_function(name: str, function: Callable[..., Any]) -> None:
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters or any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
        raise ValueError(f"the reducer {name} is a function of tokens, with named options: {function.__qualname__}")
    options = [p for p in parameters[1:] if p.name != ATTENTION]
    if missing := [p.name for p in options if p.default is p.empty]:
        raise ValueError(f"the reducer {name}: its option {missing[0]} needs a default")
    if taken := [p.name for p in options if hasattr(_Scored, p.name)]:
        raise ValueError(
            f"the reducer {name} cannot have an option {taken[0]}: every reducer has something of that name"
        )
    hints = get_type_hints(function)

    @wraps(function)  # by which an error leads to the user's file
    def score(self: Any, tokens: Tensor, **given: Tensor) -> Any:
        return function(tokens, **given, **{p.name: getattr(self, p.name) for p in options})

    names = {
        "name": name, "needs_class_token": len(options) < len(parameters) - 1, "score": score,
        "__doc__": inspect.getdoc(function) or "", "__module__": function.__module__,
        "__qualname__": function.__qualname__,
    }  # fmt: skip
    types = {p.name: hints.get(p.name) or type_of_default(p.default) or Any for p in options}
    made = [(p.name, types[p.name], field(default=p.default)) for p in options]
    make_dataclass(function.__name__, made, bases=(_Scored,), namespace=names, frozen=True)
