"""Parity fixtures: outputs of the official models for weights and inputs that a rule gives, read for tests.

``fixture = parity.load("sret_t")``; ``dynvit.load_official(model, fixture.state_dict())``;
``model(fixture.image())`` against ``fixture.array("logits_fp64")``. Everything float is float64 unless asked.
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

FOLDER = Path(__file__).resolve().parents[2] / "parity"
FLOAT32_INSIDE = 5e-7
"""How near the official numbers are where the official code computes a masked softmax in float32, whatever the model's
type: the exponential's last digit and what is rounded to float32 differ from processor to processor. In
DynamicViT's step, instruction sets of one processor are 1e-8 apart, correctly rounded exponentials 1.3e-7 from this."""


def _load_rule() -> Any:
    spec = importlib.util.spec_from_file_location("parity_rule", FOLDER / "rule.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


rule = _load_rule()


@dataclass(frozen=True)
class Fixture:
    """Facts (the JSON) and arrays (the NPZ) of one run of an official model."""

    name: str
    facts: dict[str, Any]
    arrays: dict[str, np.ndarray]

    def array(self, name: str) -> Tensor:
        """An array as a tensor of its own dtype."""
        return torch.from_numpy(self.arrays[name])

    def state_dict(self, dtype: torch.dtype = torch.float64, aliases: bool = True) -> dict[str, Tensor]:
        """Official key -> value by the rule, checked against the fixture's checksums."""
        return state_dict(self.facts["state_dict"], dtype, aliases)

    @property
    def classes(self) -> int:
        return int(self.arrays["logits_fp64"].shape[-1])

    def image(self, batch: int = 2, dtype: torch.dtype = torch.float64) -> Tensor:
        """The fixture's input ``[B, 3, S, S]``; another batch is another input (only Evo-LeViT training: 4)."""
        return image(batch, self.facts["input"]["shape"][-1], dtype)

    def labels(self, batch: int = 2) -> Tensor:
        return labels(batch, self.classes)

    def teacher_logits(self, batch: int = 2) -> Tensor:
        return teacher_logits(batch, self.classes)


@cache
def load(name: str) -> Fixture:
    """The fixture of that name from tests/parity."""
    facts = json.loads((FOLDER / f"{name}.json").read_text())
    with np.load(FOLDER / f"{name}.npz") as arrays:
        return Fixture(name, facts, {key: arrays[key] for key in arrays.files})


def state_dict(rows: list[list[Any]], dtype: torch.dtype = torch.float64, aliases: bool = True) -> dict[str, Tensor]:
    """State dict of the fixture's rows ``[name, shape, dtype, kind, crc32, alias_of]``; an alias is the same tensor."""
    result: dict[str, Tensor] = {}
    for name, shape, _, kind, crc, alias_of in rows:
        if alias_of is not None:
            continue
        value = rule.value(name, shape)
        if rule.kind_of(name, shape) != kind or rule.crc(value) != crc:
            raise AssertionError(f"the rule gives another value for {name}")
        result[name] = torch.from_numpy(value).to(torch.int64 if kind == "counter" else dtype)
    if aliases:
        result.update({row[0]: result[row[5]] for row in rows if row[5] is not None})
    return result


def image(batch: int, size: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.from_numpy(rule.image(batch, size)).to(dtype)


def labels(batch: int, classes: int) -> Tensor:
    return torch.from_numpy(rule.labels(batch, classes))


def teacher_logits(batch: int, classes: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.from_numpy(rule.teacher_logits(batch, classes)).to(dtype)


def permutation(k: int, n: int) -> Tensor:
    """The k-th token permutation of a forward pass (SReT)."""
    return torch.from_numpy(rule.permutation(k, n))


def largest_difference(ours: Tensor, theirs: Tensor) -> float:
    """Largest absolute difference; shapes must be equal."""
    if ours.shape != theirs.shape:
        raise AssertionError(f"shapes {tuple(ours.shape)} and {tuple(theirs.shape)}")
    return (ours.detach().double() - theirs.double()).abs().max().item()


def wrong_gradients(
    model: nn.Module,
    norms: dict[str, float],
    to_ours: dict[str, str] | None = None,
    tolerance: float = 1e-9,
    negligible: float = 1e-8,
) -> dict[str, tuple[float, float]]:
    """Gradient L2 norms that miss the fixture's: official name -> (ours, theirs); empty when all agree.

    to_ours: official -> our parameter name (equal names may be left out). Norms below `negligible` are
    mathematically zero (a bias in front of BatchNorm): ours must be negligible too.
    """
    own = dict(model.named_parameters())
    wrong: dict[str, tuple[float, float]] = {}
    for name, theirs in norms.items():
        gradient = own[(to_ours or {}).get(name, name)].grad
        ours = 0.0 if gradient is None else gradient.norm().item()
        if theirs < negligible:
            agrees = ours < negligible
        else:
            agrees = abs(ours - theirs) <= tolerance * max(1.0, theirs)
        if not agrees:
            wrong[name] = (ours, theirs)
    return wrong
