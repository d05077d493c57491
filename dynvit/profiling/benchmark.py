"""One trial of the task `cost`: counts first, on shapes alone where possible, then what needs the model to run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dynvit.config.cost import Config
from dynvit.context import Context
from dynvit.interface import interface_of
from dynvit.models.build import build_model
from dynvit.profiling.activation_memory import forward_peak
from dynvit.profiling.hardware import place
from dynvit.profiling.interleaved_timing import Race, largest, race, runs
from dynvit.profiling.macs import complexity, count_macs, evaluating, parameters
from dynvit.profiling.norm_ops import NormCounter
from dynvit.profiling.peak_memory import peak_mb, reset_peak
from dynvit.profiling.traced_ops import traced
from dynvit.trunks import trunk_of

Options = dict[str, Any]
Metrics = dict[str, float]


class Measuring:
    """Reports into `metrics` as it goes."""

    def __init__(self, config: Config, context: Context) -> None:
        self.config, self.context, self.device = config, context, context.device
        self.dtype = getattr(torch, config.dtype)
        told = config.trunk if config.trunk.get("name") else trunk_of(config.model)
        self.trunk: Options | None = dict(told) if told else None
        self.metrics: Metrics = {}

    def run(self) -> dict[str, Any]:
        started = time.perf_counter()
        with _threads(self.config.threads):
            reset_peak(self.device)
            self._count()
            if self.config.operators or self.config.memory_batch or self.config.timing.enabled:
                self._run_it()
            seconds = time.perf_counter() - started
            about = place(self.device) | {"dtype": self.config.dtype, "model": self.config.model["name"]}
        return {
            "metrics": self.metrics,
            "cost": {
                "seconds": seconds,
                "gpu_seconds": seconds if self.device.startswith("cuda") else 0.0,
                "peak_memory_mb": peak_mb(self.device),
                "params": round(1e6 * self.metrics["params_m"]),
                "gflops": self.metrics["gflops"],
            },
            "about": about | {"trunk": self.trunk["name"] if self.trunk else None},
        }

    # ---- counts

    def _count(self) -> None:
        found, self.size = self._counted(self.config.model)
        self.metrics |= found | {"image_size": float(self.size)}
        if self.trunk is not None:
            theirs, _ = self._counted(self.trunk, self.size)
            self.metrics["mac_ratio"] = theirs["gflops"] / found["gflops"]
            self.metrics["trunk_gflops"] = theirs["gflops"]

    def _counted(self, options: Options, size: int | None = None) -> tuple[Metrics, int]:
        """Parameters and multiply-accumulates, and the side of the images."""
        model = self._shapes(options, size) or self._build(options, size)
        size = size or image_size(model, self.config.image_size)
        images = self._images(self.config.counted_images, size).float().to(next(model.parameters()).device)
        cost = complexity(model, images)
        with evaluating(model), torch.no_grad(), count_macs() as counter, NormCounter() as norms:
            model(images[:1])
        found = {"params_m": parameters(model) / 1e6, "gflops": cost.gmacs}
        every = {id(p): p.numel() for p in model.parameters()}
        found["params_training_m"] = sum(every.values()) / 1e6
        found |= {"gflops_attention": counter.products / 1e9, "gflops_norms": norms.operations / 1e9}
        return found, size

    def _shapes(self, options: Options, size: int | None) -> nn.Module | None:
        """The model without data, where its cost does not depend on the image: counting then takes no computing."""
        try:
            with torch.device("meta"):
                model = self._build(options, size)
        except (NotImplementedError, RuntimeError):  # its construction looks at values
            return None
        return model if interface_of(model).static_cost else None

    def _build(self, options: Options, size: int | None = None) -> nn.Module:
        torch.manual_seed(self.context.seed)
        given: Options = {"in_chans": self.config.in_chans, "num_classes": self.config.num_classes}
        size = size or self.config.image_size
        if size is not None:
            given["img_size"] = size
        return build_model(options, **given).eval()

    # ---- what needs the model to run

    def _run_it(self) -> None:
        config = self.config
        model = self._placed(config.model)
        with evaluating(model):
            if config.memory_batch:
                peak = forward_peak(model, self._images(config.memory_batch))
                self.metrics["forward_mb"] = peak / 2**20
            if config.operators:
                found = traced(model, self._images(1))
                self.metrics |= {"operators": float(found.operators), "graph_breaks": float(found.breaks)}
            if config.timing.enabled:
                self._time(model)

    def _time(self, model: nn.Module) -> None:
        timing = self.config.timing
        trunk = None if self.trunk is None else self._placed(self.trunk)
        if timing.fuse:
            model = interface_of(model).fuse().eval()
            trunk = None if trunk is None else interface_of(trunk).fuse().eval()
        batches = {f"b{batch}": batch for batch in timing.batch_sizes}
        if timing.largest:
            both = [m for m in (model, trunk) if m is not None]
            fits = largest(partial(runs, both, self._images(1)), timing.largest)
            if fits:
                batches["max"], self.metrics["batch_max"] = fits, float(fits)
        for mode in timing.modes:
            for label, batch in batches.items():
                self._race(mode, label, model, trunk, self._images(batch))

    def _race(self, mode: str, label: str, model: nn.Module, trunk: nn.Module | None, images: Tensor) -> None:
        timing, calls = self.config.timing, [model, trunk]
        if mode == "compiled":
            torch._dynamo.reset()  # or the compiler gives up after a few shapes, and eager code would be timed
            calls = [m and torch.compile(m, dynamic=False) for m in calls]
        found = race(calls[0], calls[1], images, timing.rounds, timing.warmup, inference=mode == "eager")
        if mode == "compiled":
            torch._dynamo.reset()
        end = label if mode == "eager" else f"{label}_{mode}"
        self.metrics |= {f"{key}_{end}": value for key, value in self._speeds(found, len(images)).items()}
        self.context.say(f"{mode} batch {len(images)}: {self.metrics[f'images_per_second_{end}']:.1f} images/s")

    def _speeds(self, found: Race, batch: int) -> Metrics:
        ours, theirs = found.rates(batch)
        told = {"images_per_second": ours}
        if self.trunk is None:
            return told
        low, middle, high = found.speedup()
        told |= {"trunk_images_per_second": theirs, "speedup": middle, "speedup_low": low, "speedup_high": high}
        return told | {"share": middle / self.metrics["mac_ratio"]}

    def _placed(self, options: Options) -> nn.Module:
        return self._build(options, self.size).to(self.device, self.dtype)

    def _images(self, batch: int, size: int | None = None) -> Tensor:
        draw, side = torch.Generator().manual_seed(self.context.seed), size or self.size
        images = torch.randn(batch, self.config.in_chans, side, side, generator=draw)
        return images.to(self.device, self.dtype)


def image_size(model: nn.Module, asked: int | None) -> int:
    """The side of the images that a model takes by itself."""
    return asked or int(model.default_cfg["input_size"][-1])


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    if number:
        torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
