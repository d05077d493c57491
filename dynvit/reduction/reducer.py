"""Reducer: what a method of token reduction is, and the list of methods.

A method is a frozen dataclass in `dynvit.reducers`; its fields are its options. It says how many tokens are left
(`plan`), which (`group`) and what becomes of them (`combine`); the forward pass does the rest.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

from dynvit.config.extensions import VERSION, place_of
from dynvit.config.option_checks import check_choices, check_types, plain
from dynvit.reduction.block_parts import PreNormParts, Where
from dynvit.reduction.counts import Plan
from dynvit.reduction.grouping import Grouping, Places, group_mean, select
from dynvit.reduction.signals import Signals
from dynvit.reduction.stream import Stream

Place = Literal["between", "before", "own"]
"""between: after the attention of a block, before its MLP. before: on the input of a block. own: the method runs
the blocks that reduce itself (`run_block`)."""

REDUCERS: dict[str, type[Reducer]] = {}


class ReducingModel(Protocol):
    """What a method that runs its blocks itself asks of the model; see dynvit.reduction.forward."""

    blocks: nn.Sequential

    def parts(self, i: int) -> PreNormParts:
        """How the i-th block is taken apart."""

    def attention_bias(self, stream: Stream) -> Tensor | None:
        """What the method adds to the logits of each key."""

    def positions(self, stream: Stream, block: int) -> Where:
        """What the attention of this block knows of positions."""


@dataclass(frozen=True)
class Reducer:
    """Base class of the methods."""

    name: ClassVar[str] = ""
    place: ClassVar[Place] = "between"
    training_free: ClassVar[bool] = True
    """Whether it makes sense on trained weights as they are."""
    needs_class_token: ClassVar[bool] = False
    static: ClassVar[bool] = True
    """Whether every image keeps the same number of tokens."""
    counts_sizes: ClassVar[bool] = False
    """Whether tokens carry how many patches they represent; average pooling weighs by it."""

    @property
    def added(self) -> int:
        """Tokens that each reduction puts behind those that are left; `plan` does not count them."""
        return 0

    @property
    def attends_itself(self) -> bool:
        """Whether the method computes attention, as a softmax times values, in place of the block."""
        return self.place == "own"

    @property
    def makes_tokens(self) -> bool:
        """Whether there are tokens afterwards that stand at no position of the input."""
        return self.added > 0

    def __init_subclass__(cls) -> None:
        if vars(cls).get("name"):
            add_reducer(cls)

    def __post_init__(self) -> None:
        values = {field.name: plain(getattr(self, field.name)) for field in fields(self)}
        vars(self).update(values)  # the dataclass is frozen
        check_types(type(self), values)
        check_choices(type(self), values)

    # ---- what a method defines

    def plan(self, patches: int, prefix: int, depth: int) -> Plan:
        """Patch tokens left after the reduction of each block; None, or no fewer than there are: it does not reduce.

        patches: of the image; prefix: tokens in front of them. Raises ValueError for options that do not fit the
        model.
        """
        raise NotImplementedError

    def group(self, stream: Stream, signals: Signals | None, kept: int, block: int, places: Places) -> Grouping:
        """Choose. stream: tokens after the attention of the block (between) or on its input (before, then without
        signals); kept: patch tokens to be left."""
        raise NotImplementedError

    def combine(self, stream: Stream, grouping: Grouping, block: int, places: Places) -> Stream:
        """The tokens after the reduction. Here: of each group the one that is kept, or the mean by size."""
        if grouping.mixed_BCD is not None:
            return stream._replace(x_BND=torch.cat([stream.x_BND[:, : places.prefix], grouping.mixed_BCD], 1))
        if grouping.gone_BR is None:
            x_BKD, size_BK = select(stream.x_BND, grouping), stream.size_BN
            size_BK = None if size_BK is None else size_BK.gather(1, grouping.kept_BK)
        else:
            x_BKD, size_BK = group_mean(stream.x_BND, stream.size_BN, grouping, places)
        return stream._replace(x_BND=x_BKD, size_BN=size_BK if self.counts_sizes else None)

    def key_bias(self, stream: Stream) -> Tensor | None:
        """What attention adds to the logits of each key ``[B, 1, 1, N]``; None: nothing."""
        return None

    def modules(self, model: nn.Module, patches: int) -> dict[str, nn.Module]:
        """Layers with weights that the method adds to the model, by the official names."""
        return {}

    def carries(self, block: int, places: Places) -> bool:
        """Whether `carry` is asked after the attention of this block."""
        return False

    def carry(self, signals: Signals, places: Places) -> Tensor:
        """What the next block's reduction needs of this block's attention."""
        raise NotImplementedError

    def run_block(
        self, model: ReducingModel, block: int, stream: Stream, kept: int, places: Places
    ) -> tuple[Stream, Grouping | None]:
        """The whole block, for methods whose `place` is "own"."""
        raise NotImplementedError

    def train_forward(self, model: ReducingModel, images: Tensor) -> Any:
        """The forward pass in training where it differs from evaluation: an ``Output``; None: it does not."""
        return None


def add_reducer(cls: type[Reducer]) -> None:
    """Put a method into the list. ValueError for a name that another one has."""
    before = REDUCERS.get(cls.name, cls)
    if place_of(before) != place_of(cls):
        raise ValueError(f"there is a token reducer {cls.name} already, {place_of(before)}: choose another name")
    REDUCERS[cls.name] = cls
    VERSION.number += 1


def list_reducers() -> list[str]:
    """Return the names of the methods of token reduction, sorted."""
    return sorted(REDUCERS)


def make_reducer(method: str, options: Mapping[str, Any]) -> Reducer:
    """The method with its options. ValueError for an unknown method, TypeError for an unknown option, each with the
    nearest that there is."""
    if not isinstance(method, str):
        raise TypeError(f"method is the name of a token reducer, as {list_reducers()[0]!r}, not {method!r}")
    if method not in REDUCERS:
        near = difflib.get_close_matches(method, REDUCERS, n=1, cutoff=0.5)
        meant = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(list_reducers())}"
        raise ValueError(f"no token reducer is called {method!r}{meant}")
    cls = REDUCERS[method]
    known = [field.name for field in fields(cls)]
    unknown = [key for key in options if key not in known]
    if unknown:
        raise TypeError(f"{method} has no option {', '.join(_meant(unknown, known))}; it takes {', '.join(known)}")
    return cls(**options)


def _meant(unknown: list[str], known: list[str]) -> Iterator[str]:
    for key in unknown:
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        yield f"{key!r}" + (f" (did you mean {near[0]!r}?)" if near else "")
