"""Which layer uses which weights: the sharing schemes of Mixture-of-Recursions on a transformer of ``depth`` layers.

=================  ===================================================================================
none               every layer its own weights
cycle              u weights, the whole group of u passed N_r times: 0 1 2 0 1 2 ...
sequence           u weights, each N_r times in a row: 0 0 0 1 1 1 ...
middle_cycle       first and last layer of their own, the layers between as ``cycle``
middle_sequence    first and last layer of their own, the layers between as ``sequence``
=================  ===================================================================================

u = floor(layers / N_r): where that leaves a remainder the model runs fewer than ``depth`` layers and warns.
A *unit* is what one recursion runs: u layers of a cycle, one layer of a sequence.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

SHARINGS = ("none", "cycle", "sequence", "middle_cycle", "middle_sequence")


@dataclass(frozen=True)
class Unit:
    """Layers that one recursion runs, by the name of their weights; recursion None: not routed by expert choice."""

    layers: tuple[str, ...]
    recursion: int | None = None


@dataclass(frozen=True)
class Schedule:
    units: tuple[Unit, ...]

    @property
    def layers(self) -> tuple[str, ...]:
        """Name of the weights of every layer, in order of execution."""
        return tuple(name for unit in self.units for name in unit.layers)

    def spans(self) -> Iterator[tuple[Unit, range]]:
        """Each unit with the numbers of its layers."""
        first = 0
        for unit in self.units:
            yield unit, range(first, first + len(unit.layers))
            first += len(unit.layers)

    def first(self, layers: int) -> Schedule:
        """The units that contain the first layers: the last of them as a whole."""
        return Schedule(tuple(unit for unit, span in self.spans() if span.start < layers))

    @property
    def routed(self) -> tuple[Unit, ...]:
        return tuple(unit for unit in self.units if unit.recursion is not None)

    @property
    def weights(self) -> tuple[str, ...]:
        """The distinct names, in order of first use."""
        return tuple(dict.fromkeys(self.layers))


def make_schedule(sharing: str, depth: int, recursion: int, routed: bool = True) -> Schedule:
    """The layers of a model; routed: whether expert choice needs units that divide the middle evenly."""
    if sharing not in SHARINGS:
        raise ValueError(f"sharing must be one of {', '.join(SHARINGS)}, got {sharing!r}")
    if recursion < 1:
        raise ValueError(f"recursion must be at least 1, got {recursion}")
    if sharing == "none":
        return _unshared(depth, recursion, routed)
    middle = sharing.startswith("middle")
    layers = depth - 2 if middle else depth
    if layers < 1:
        raise ValueError(f"sharing={sharing!r} needs depth of at least {3 if middle else 1}, got {depth}")
    if recursion > layers:
        raise ValueError(
            f"recursion={recursion} does not fit depth={depth} with sharing={sharing!r}; "
            f"the largest that fits is {layers}"
        )
    distinct = layers // recursion
    if distinct * recursion < layers:
        ends = 2 if middle else 0
        warnings.warn(
            f"recursion={recursion} runs {distinct * recursion + ends} of {depth} layers with sharing={sharing!r}: "
            f"{layers} recursive layers are not a multiple of {recursion}",
            stacklevel=2,
        )
    names = tuple(f"shared.{i}" for i in range(distinct))
    if sharing.endswith("cycle"):
        units = [Unit(names, r) for r in range(recursion)]
    else:
        units = [Unit((name,), r) for name in names for r in range(recursion)]
    return Schedule((Unit(("head",)), *units, Unit(("tail",))) if middle else tuple(units))


def _unshared(depth: int, recursion: int, routed: bool) -> Schedule:
    """All layers distinct; expert choice still has N_r units between the first and the last layer."""
    names = tuple(str(i) for i in range(depth))
    if not routed:
        return Schedule(tuple(Unit((name,)) for name in names))
    if recursion > depth - 2 or (depth - 2) % recursion:
        fitting = [n for n in range(1, max(depth - 1, 1)) if (depth - 2) % n == 0]
        raise ValueError(
            f"recursion={recursion} does not divide the {depth - 2} middle layers of depth={depth} with "
            f"sharing='none'; expert routing can use {', '.join(map(str, fitting)) or 'none'}"
        )
    size = (depth - 2) // recursion
    middle = [Unit(names[1 + r * size : 1 + (r + 1) * size], r) for r in range(recursion)]
    return Schedule((Unit(names[:1]), *middle, Unit(names[-1:])))


def source_layers(schedule: Schedule, trunk_depth: int) -> dict[str, int]:
    """Backbone layer that initializes each of our weights: the ends from the ends, shared ones evenly spaced between.

    Twelve layers give head, one shared, tail = 0, 6, 11.
    """
    names = schedule.weights
    if "head" not in names and "shared.0" not in names:
        spread = max(len(names) - 1, 1)
        return {name: (i * (trunk_depth - 1) + spread // 2) // spread for i, name in enumerate(names)}
    first, layers = (1, trunk_depth - 2) if "head" in names else (0, trunk_depth)
    shared = [name for name in names if name.startswith("shared")]
    source = {name: first + (2 * i + 1) * layers // (2 * len(shared)) for i, name in enumerate(shared)}
    return {"head": 0, **source, "tail": trunk_depth - 1} if "head" in names else source


def shared_state(state: Mapping[str, Tensor], schedule: Schedule) -> dict[str, Tensor]:
    """Return a DeiT's state with its layers under our names; ``backbone.blocks.5...`` is of a layer that none takes.

    What has our names already, as the weights of a model with another router, keeps them.
    """
    layers = {n: int(n.split(".")[1]) for n in state if re.match(r"blocks\.\d+\.", n)}
    sources = source_layers(schedule, 1 + max(layers.values(), default=0))
    renamed = {name: value for name, value in state.items() if name not in layers}
    for name, layer in layers.items():
        rest = name.split(".", 2)[2]
        takers = [ours for ours, source in sources.items() if source == layer]
        renamed |= {f"blocks.{ours}.{rest}": state[name] for ours in takers} or {f"backbone.{name}": state[name]}
    return renamed


class SharedBlocks(nn.Module):
    """The blocks of a schedule, each built once; ``blocks[i]`` is the block of layer i.

    Parameters are called ``0 ..`` without sharing, else ``head``, ``shared.0 ..``, ``tail``.
    """

    def __init__(self, schedule: Schedule, blocks: Iterable[nn.Module]) -> None:
        super().__init__()
        shared = nn.ModuleList()
        for name, block in zip(schedule.weights, blocks, strict=True):
            if name.startswith("shared."):
                shared.append(block)
                self.shared = shared
            else:
                self.add_module(name, block)
        self._layers = schedule.layers

    def __len__(self) -> int:
        return len(self._layers)

    def __getitem__(self, layer: int) -> nn.Module:
        return self.get_submodule(self._layers[layer])

    def __iter__(self) -> Iterator[nn.Module]:
        return (self[i] for i in range(len(self)))
