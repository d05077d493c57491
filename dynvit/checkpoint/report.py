"""Reports of what was loaded into a model and what does not fit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class LoadReport:
    """Names of our parameters that were loaded, that kept their initialization, and unused keys of the source."""

    loaded: tuple[str, ...]
    kept: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        def listed(names: tuple[str, ...]) -> str:
            return first(names) + (f" ({len(names)})" if len(names) > 4 else "") if names else "none"

        return (
            f"loaded {len(self.loaded)} tensors; kept at initialisation: {listed(self.kept)}; "
            f"unused in the source: {listed(self.unused)}"
        )

    def unmatched_layers(self) -> list[str]:
        """Return the tensors, of either side, that found no partner although other layers' tensors of that name did."""
        loaded = {re.sub(r"\d+", "#", name) for name in self.loaded}
        return [name for name in (*self.kept, *self.unused) if re.sub(r"\d+", "#", name) in loaded]


def other_depth(state: Mapping[str, Tensor], model: nn.Module) -> str:
    """Return both numbers of blocks if they differ; empty where they are equal or have no such names."""
    layers = [int(name.split(".")[1]) for name in state if re.match(r"blocks\.\d+\.", name)]
    theirs, ours = 1 + max(layers, default=-1), len(getattr(model, "blocks", ()))
    return f"{theirs}, ours {ours}" if theirs and theirs != ours else ""


def first(names: Iterable[str], count: int = 4) -> str:
    """Join the first names; an ellipsis replaces the rest."""
    names = list(names)
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")


def first_and_more(names: Sequence[str], count: int = 8) -> str:
    return ", ".join(names[:count]) + (f" and {len(names) - count} more" if len(names) > count else "")


def raise_problems(model: str, problems: Mapping[str, Sequence[str]]) -> None:
    """Raise ValueError listing all problems of a checkpoint by kind, if there are any."""
    if lines := [f"{kind}: {first_and_more(names)}" for kind, names in problems.items() if names]:
        raise ValueError(f"checkpoint does not fit {model}; " + "; ".join(lines))


def shapes(names: Sequence[str], source: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    return "; ".join(f"{n}: {tuple(source[n].shape)}, ours {tuple(own[n].shape)}" for n in names[:6])
