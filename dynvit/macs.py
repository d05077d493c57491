"""Parameters and multiply-accumulates of a model, counted per image from the operators that ran.

Convention: linear layers, convolutions and both attention products count, one multiply-accumulate each;
normalization, activation and bias do not. This is what DeiT, Swin and later papers publish as "FLOPs".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from dynvit.interface import interface_of
from dynvit.layers.mac_counting import COUNTERS, exclude_from_macs

aten = torch.ops.aten


@dataclass(frozen=True)
class Complexity:
    """params: parameters that evaluation uses; macs: ``float64[B]``, multiply-accumulates of each image."""

    params: int
    macs: Tensor

    @property
    def gmacs(self) -> float:
        """Mean over the images in units of 1e9, which papers call GFLOPs."""
        return float(self.macs.mean()) / 1e9


def complexity(model: nn.Module, images: Tensor) -> Complexity:
    """Count the cost of evaluating these images ``[B, C, H, W]``.

    Every image runs alone, in eval mode and gathered execution, so that its own tokens count. A model with
    ``static_cost = True``, and every model of timm's own, costs the same for any image and runs once.
    Mode, execution and a running token trace are restored.
    """
    if images.ndim != 4 or not len(images):
        raise ValueError(f"images must be a batch [B, C, H, W] of at least one image, got {tuple(images.shape)}")
    model = getattr(model, "_orig_mod", model)  # compiled kernels hide what ran
    static = interface_of(model).static_cost
    with evaluating(model), _untraced(model), torch.no_grad():
        macs = [_macs(model, images[i : i + 1]) for i in range(1 if static else len(images))]
    counts = torch.tensor(macs, dtype=torch.float64, device="cpu")  # under a meta device, too
    return Complexity(parameters(model), counts.expand(len(images)).clone())


def parameters(model: nn.Module) -> int:
    """Return the number of parameters used in evaluation: all but those under the prefixes ``model.training_only``."""
    prefixes = interface_of(model).training_only
    used = {
        id(p): p.numel()
        for name, p in model.named_parameters(remove_duplicate=False)
        if not any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)
    }
    return sum(used.values())


def _macs(model: nn.Module, image_1CHW: Tensor) -> int:
    with count_macs() as counter:
        model(image_1CHW)
    return counter.macs


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Use eval mode and gathered execution inside the block; restore both afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    hooks = interface_of(model)
    execution = hooks.execution
    model.eval()
    hooks.set_execution("gathered")
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        hooks.set_execution(execution)


@contextmanager
def _untraced(model: nn.Module) -> Iterator[None]:
    """Suspend a running token trace inside the block."""
    trace = interface_of(model).trace
    if trace is not None:
        model.trace = None
    try:
        yield
    finally:
        if trace is not None:
            model.trace = trace


@contextmanager
def count_macs() -> Iterator[MacCounter]:
    """Count every operation of this thread inside the block, whatever the batch: ``with count_macs() as c: ...``."""
    counter = MacCounter()
    token = COUNTERS.set((*COUNTERS.get(), counter))
    try:
        with _Attention(counter), counter:
            yield counter
    finally:
        COUNTERS.reset(token)


class MacCounter(TorchDispatchMode):
    """Sum multiply-accumulates of the operators that reach the dispatcher, by torch's formulas."""

    def __init__(self) -> None:
        from torch.utils.flop_counter import flop_registry  # slow to import: it brings triton

        super().__init__()
        self.macs = 0
        self.products = 0
        """Products of two batches of activations: attention."""
        self.paused = 0
        self.formulas = {**flop_registry, **_PRODUCTS}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        formula = self.formulas.get(getattr(func, "_overloadpacket", func))
        if formula is None and hasattr(func, "decompose") and func is not torch.ops.prim.device.default:
            with self:  # under inference_mode composite operators (linear, einsum) arrive whole
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        out = func(*args, **kwargs)
        if formula is not None and not self.paused:
            self._add(formula(*args, **kwargs, out_val=out) // 2, getattr(func, "_overloadpacket", func) in _BATCHED)
        return out

    def _add(self, macs: int, product: bool) -> None:
        self.macs += macs
        self.products += macs * product


class _Attention(TorchFunctionMode):
    """Count fused attention where it is called, by its true shapes.

    In the dispatcher the call becomes one of many kernels; some see heads padded to a multiple of 8.
    """

    def __init__(self, counter: MacCounter) -> None:
        super().__init__()
        self.counter = counter

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not F.scaled_dot_product_attention:
            return func(*args, **kwargs)
        self.counter.paused += 1
        try:
            out = func(*args, **kwargs)
        finally:
            self.counter.paused -= 1
        if not self.counter.paused:
            named = dict(zip(("query", "key", "value"), args, strict=False)) | kwargs
            rows = out.numel() // out.shape[-1] if out.numel() else 0
            self.counter._add(rows * named["key"].shape[-2] * (named["query"].shape[-1] + out.shape[-1]), product=True)
        return out


def _flops(product: Callable[..., int]) -> Callable[..., int]:
    def formula(*args: Any, out_val: Any = None, **kwargs: Any) -> int:
        return 2 * product(*args)

    return formula


def _recurrent(steps: Tensor, weights: Iterable[Any]) -> int:
    """Every weight matrix is applied once at each step of each sequence; what else is given are biases."""
    return steps.numel() // steps.shape[-1] * sum(w.numel() for w in weights if isinstance(w, Tensor) and w.ndim == 2)


# Products with a vector, of three factors and of a summed batch, and recurrent layers that are one kernel, all of which
# torch's table lacks.
_PRODUCTS: dict[Any, Callable[..., int]] = {
    aten.mv: _flops(lambda a, *_: a.numel()),
    aten.addmv: _flops(lambda _, a, *__: a.numel()),
    aten.dot: _flops(lambda a, *_: a.numel()),
    aten.vdot: _flops(lambda a, *_: a.numel()),
    aten.addbmm: _flops(lambda _, a, b, *__: a.numel() * b.shape[-1]),
    aten._trilinear: _flops(lambda a, weight, *_: a.numel() // a.shape[-1] * weight.numel()),
    aten.mkldnn_rnn_layer: _flops(lambda x, *weights: _recurrent(x, weights[:4])),
    aten._cudnn_rnn: _flops(lambda x, weights, *_: _recurrent(x, weights)),
}

_BATCHED = {aten.bmm, aten.baddbmm, aten.addbmm}

__all__ = ["Complexity", "MacCounter", "complexity", "count_macs", "exclude_from_macs", "parameters"]
