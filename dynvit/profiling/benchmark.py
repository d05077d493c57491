"""One trial of the task `cost`: counts first, on the meta device where possible, then what needs the model to run."""

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
from dynvit.macs import complexity, count_macs, evaluating, parameters
from dynvit.models.build import build_reduced
from dynvit.profiling.activation_memory import forward_peak
from dynvit.profiling.execution_modes import check_modes, prepared
from dynvit.profiling.hardware import hardware_info
from dynvit.profiling.interleaved_timing import PairedTiming, fits_in_memory, largest_batch, time_pair
from dynvit.profiling.norm_ops import NormCounter
from dynvit.profiling.peak_memory import peak_mb, reset_peak
from dynvit.profiling.traced_ops import trace_ops
from dynvit.profiling.training_update import TrainingUpdate
from dynvit.trunks import trunk_of

Options = dict[str, Any]
Metrics = dict[str, float]


class Benchmark:
    """Measurements of one model and its backbone, collected in `metrics`."""

    def __init__(self, config: Config, context: Context) -> None:
        self.config, self.context, self.device = config, context, context.device
        self.dtype = getattr(torch, config.dtype)
        self.reduced = bool(config.reducer.get("name"))
        whole = config.model if self.reduced else trunk_of(config.model)
        backbone = config.trunk if config.trunk.get("name") else whole
        self.backbone: Options | None = dict(backbone) if backbone else None
        self.metrics: Metrics = {}
        self.not_timed: dict[str, str] = {}
        if config.timing.enabled:
            check_modes(config.timing.modes, self.device)

    def run(self) -> dict[str, Any]:
        started = time.perf_counter()
        with _threads(self.config.threads):
            reset_peak(self.device)
            self._count()
            timing = self.config.timing
            if self.config.operators or self.config.memory_batch or timing.enabled:
                self._run_model()
            if timing.update and self.backbone is not None:
                self._time_update(self._images(timing.update))
            elif timing.update:
                self.not_timed["update"] = "there is no backbone to compare with: name one as trunk"
                self.context.log_text(f"update of training: not timed: {self.not_timed['update']}")
            seconds = time.perf_counter() - started
            metadata = hardware_info(self.device) | {"dtype": self.config.dtype, "model": self.config.model["name"]}
            if self.reduced:
                metadata["reducer"] = self.config.reducer["name"]
            if self.not_timed:
                metadata["not_timed"] = self.not_timed
        return {
            "metrics": self.metrics,
            "cost": {
                "seconds": seconds,
                "gpu_seconds": seconds if self.device.startswith("cuda") else 0.0,
                "peak_memory_mb": peak_mb(self.device),
                "params": round(1e6 * self.metrics["params_m"]),
                "gflops": self.metrics["gflops"],
            },
            "about": metadata | {"trunk": self.backbone["name"] if self.backbone else None},
        }

    # ---- counts

    def _count(self) -> None:
        found, self.size = self._counted(self.config.model, reducer=self.config.reducer)
        self.metrics |= found | {"image_size": float(self.size)}
        if self.backbone is not None:
            backbone, _ = self._counted(self.backbone, self.size)
            self.metrics["mac_ratio"] = backbone["gflops"] / found["gflops"]
            self.metrics["trunk_gflops"] = backbone["gflops"]

    def _counted(
        self, options: Options, size: int | None = None, reducer: Options | None = None
    ) -> tuple[Metrics, int]:
        """Return parameters and multiply-accumulates, and the image size."""
        model = self._build_on_meta(options, size, reducer) or self._build(options, size, reducer)
        size = size or image_size(model, self.config.image_size)
        images = self._images(self.config.counted_images, size).float().to(next(model.parameters()).device)
        cost = complexity(model, images)
        with evaluating(model), torch.no_grad(), count_macs() as counter, NormCounter() as norms:
            model(images[:1])
        found = {"params_m": parameters(model) / 1e6, "gflops": cost.gmacs}
        parameter_sizes = {id(p): p.numel() for p in model.parameters()}
        found["params_training_m"] = sum(parameter_sizes.values()) / 1e6
        found |= {"gflops_attention": counter.products / 1e9, "gflops_norms": norms.operations / 1e9}
        return found, size

    def _build_on_meta(self, options: Options, size: int | None, reducer: Options | None) -> nn.Module | None:
        """Build the model on the meta device, if its cost is the same for all images: counting is then free."""
        try:
            with torch.device("meta"):
                model = self._build(options, size, reducer)
        except (NotImplementedError, RuntimeError):  # its construction reads tensor values
            return None
        return model if interface_of(model).static_cost else None

    def _build(self, options: Options, size: int | None = None, reducer: Options | None = None) -> nn.Module:
        torch.manual_seed(self.context.seed)
        given: Options = {"in_chans": self.config.in_chans, "num_classes": self.config.num_classes}
        size = size or self.config.image_size
        if size is not None:
            given["img_size"] = size
        return build_reduced(options, reducer or {}, **given).eval()

    # ---- what needs the model to run

    def _run_model(self) -> None:
        config = self.config
        model = self._placed(config.model, config.reducer)
        with evaluating(model):
            if config.memory_batch:
                peak = forward_peak(model, self._images(config.memory_batch))
                self.metrics["forward_mb"] = peak / 2**20
            if config.operators:
                found = trace_ops(model, self._images(1))
                self.metrics |= {"operators": float(found.operators), "graph_breaks": float(found.breaks)}
            if config.timing.enabled:
                self._time(model)

    def _time(self, model: nn.Module) -> None:
        timing = self.config.timing
        backbone = None if self.backbone is None else self._placed(self.backbone)
        if timing.fuse:
            model = interface_of(model).fuse().eval()
            backbone = None if backbone is None else interface_of(backbone).fuse().eval()
        batches = {f"b{batch}": batch for batch in timing.batch_sizes}
        if timing.largest:
            both = [m for m in (model, backbone) if m is not None]
            batch = largest_batch(partial(fits_in_memory, both, self._images(1)), timing.largest)
            if batch:
                batches["max"], self.metrics["batch_max"] = batch, float(batch)
        for mode in timing.modes:
            for label, batch in batches.items():
                self._time_batch(mode, label, model, backbone, self._images(batch))

    def _time_update(self, images: Tensor) -> None:
        """Time updates of model and backbone, built anew: the others may be fused, and their weights stay."""
        ours, backbones = (
            TrainingUpdate(self._placed(*options), self.config.num_classes)
            for options in ((self.config.model, self.config.reducer), (self.backbone,))
        )
        timing = self.config.timing
        found = time_pair(ours, backbones, images, timing.rounds, timing.warmup, inference=False).speedup()
        for end, value in zip(("_low", "", "_high"), found, strict=True):
            self.metrics[f"update_speedup{end}"] = value

    def _time_batch(self, mode: str, label: str, model: nn.Module, backbone: nn.Module | None, images: Tensor) -> None:
        timing = self.config.timing
        suffix = label if mode == "eager" else f"{label}_{mode}"
        try:
            with prepared(mode, [m for m in (model, backbone) if m is not None], images) as calls:
                eager, baseline = mode == "eager", calls[1] if backbone is not None else None
                found = time_pair(calls[0], baseline, images, timing.rounds, timing.warmup, inference=eager)
        except Exception as error:  # whatever a compiler raises: the other modes are still worth their numbers
            if mode == "eager":
                raise
            self.not_timed[suffix] = f"{type(error).__name__}: {error}"
            self.context.log_text(f"{mode} batch {len(images)}: not timed: {self.not_timed[suffix]}")
            return
        self.metrics |= {f"{key}_{suffix}": value for key, value in self._speeds(found, len(images)).items()}
        self.context.log_text(f"{mode} batch {len(images)}: {self.metrics[f'images_per_second_{suffix}']:.1f} images/s")

    def _speeds(self, found: PairedTiming, batch: int) -> Metrics:
        ours, backbones = found.rates(batch)
        speeds = {"images_per_second": ours}
        if self.backbone is None:
            return speeds
        low, middle, high = found.speedup()
        speeds |= {"trunk_images_per_second": backbones, "speedup": middle, "speedup_low": low, "speedup_high": high}
        return speeds | {"share": middle / self.metrics["mac_ratio"]}

    def _placed(self, options: Options, reducer: Options | None = None) -> nn.Module:
        return self._build(options, self.size, reducer).to(self.device, self.dtype)

    def _images(self, batch: int, size: int | None = None) -> Tensor:
        draw, side = torch.Generator().manual_seed(self.context.seed), size or self.size
        images = torch.randn(batch, self.config.in_chans, side, side, generator=draw)
        return images.to(self.device, self.dtype)


def image_size(model: nn.Module, asked: int | None) -> int:
    """Return the image size that was asked for, else the model's default."""
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
