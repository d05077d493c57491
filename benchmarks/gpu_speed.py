"""Speed of the models that the claims use, each timed in turn with its backbone; a step of `on_gpu.py`.

    python benchmarks/gpu_speed.py eager --device cuda --seconds 90 --rows results.jsonl

eager     half precision, TF32, autocast, at batch 1 and 256, for as long as the seconds last.
graph     the eager kernels replayed from one CUDA graph (methods whose shapes do not depend on the image).
compiled  ``torch.compile`` into one graph, batch 1 with CUDA graphs; what gpu_correctness.py compiled before is in the
          cache and comes first, and what would not be ready in time is recorded as skipped.

A ratio is the median over rounds of backbone time / model time, measured by CUDA events (CPU: process time); `low` and
`high` are its quartiles, `share` is the ratio over the ratio of multiply-accumulates. Models with image-dependent
shapes compile to masked execution, which saves no time.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
import torch._dynamo
from gpu_models import SEED, Options, methods
from gpu_report import read_rows, record, short
from torch import Tensor, nn

import dynvit
from dynvit.trunks import trunk_of

BATCHES = (1, 256)
MODES = {1: "reduce-overhead", 256: "default"}
DTYPES = {"cuda": ("bfloat16", "tf32", "bfloat16 autocast", "float16"), "cpu": ("float32", "bfloat16 autocast")}
COLD, ROUND_SECONDS, LEAST, MOST = 60.0, 0.35, 8, 60


class Bench:
    """Models on one device, built once; every result is appended to the file of rows."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.device = args, args.device
        self.kind = torch.device(args.device).type
        self.ends = time.monotonic() + args.seconds
        self.batches = (1, 4) if args.rehearse else BATCHES
        self.backend = "eager" if args.rehearse else "inductor"
        counted = [row for row in read_rows(args.rows) if "mac_ratio" in row and row["kind"] == "speed"]
        self.counted = {row["model"]: (row["gmacs"], row["gmacs"] * row["mac_ratio"]) for row in counted}
        self.built: dict[str, nn.Module] = {}
        self.callables: dict[Any, Any] = {}
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
        for limit in ("recompile_limit", "cache_size_limit", "accumulated_recompile_limit"):
            if hasattr(torch._dynamo.config, limit):
                setattr(torch._dynamo.config, limit, 512)

    def model(self, options: Options, dtype: str) -> nn.Module:
        """On the device; the weights are cast for bfloat16 and float16, not for autocast."""
        key = str(options)
        if key not in self.built:
            torch.manual_seed(SEED)
            given = {"model_name" if name == "name" else name: value for name, value in options.items()}
            self.built[key] = timm.create_model(**given).eval()
        model = copy.deepcopy(self.built[key]).to(self.device)
        return model.to(getattr(torch, dtype)) if dtype in ("bfloat16", "float16") else model

    def images(self, options: Options, batch: int, dtype: str) -> Tensor:
        side = options.get("img_size", 224)
        images = torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(SEED)).to(self.device)
        return images.to(getattr(torch, dtype)) if dtype in ("bfloat16", "float16") else images

    def backbone(self, options: Options) -> Options:
        """Its options, with the classes and the image size of the method."""
        found = trunk_of(options)
        assert found is not None
        return found | {key: options[key] for key in ("img_size", "num_classes") if key in options}

    def macs(self, options: Options) -> tuple[float, float]:
        """G multiply-accumulates per image of the method and of its backbone."""
        name = options["name"]
        if name not in self.counted:
            images = self.images(options, 8, "float32")
            mine, theirs = (self.model(o, "float32") for o in (options, self.backbone(options)))
            self.counted[name] = dynvit.complexity(mine, images).gmacs, dynvit.complexity(theirs, images).gmacs
        return self.counted[name]

    def attempt(self, row: Options, measure: Callable[[], Options]) -> Options:
        """Record what is measured, or the error in its place."""
        started = time.perf_counter()
        try:
            row |= measure()
        except Exception as error:
            row |= {"error": short(error)}
        if self.kind == "cuda":
            torch.cuda.empty_cache()
        record(self.args.rows, row | {"seconds": round(time.perf_counter() - started, 2), "seed": SEED})
        return row

    # ---- timing

    def pair(self, options: Options, batch: int, dtype: str, make: Callable[..., Any], graded: bool) -> Options:
        """Time the method and its backbone in turn. make(options, images, dtype): what to call with the images."""
        images = self.images(options, batch, dtype)
        amp = torch.autocast(self.kind, torch.bfloat16) if dtype.endswith("autocast") else nullcontext()
        with torch.no_grad() if graded else torch.inference_mode():
            calls = [make(options, images, dtype), self.kept(make, self.backbone(options), images, dtype)]
            with amp:
                times = self.rounds(calls, images)
        mine, theirs = ([t[i] for t in times] for i in (0, 1))
        low, middle, high = statistics.quantiles([b / a for a, b in times], n=4, method="inclusive")
        gmacs, backbone_gmacs = self.macs(options)
        ratio = backbone_gmacs / gmacs
        found = {"ms": statistics.median(mine), "backbone_ms": statistics.median(theirs), "speed_up": middle}
        found |= {"low": low, "high": high, "gmacs": gmacs, "mac_ratio": ratio, "share": middle / ratio}
        return {key: round(value, 4) for key, value in found.items()} | {"rounds": len(times)}

    def rounds(self, calls: list[Any], images: Tensor) -> list[tuple[float, float]]:
        """Milliseconds of both calls, round by round, for about ROUND_SECONDS."""
        for _ in range(3):
            for call in calls:
                self.milliseconds(call, images)
        ends, times = time.monotonic() + ROUND_SECONDS, []
        while len(times) < LEAST or (time.monotonic() < ends and len(times) < MOST):
            times.append((self.milliseconds(calls[0], images), self.milliseconds(calls[1], images)))
        return times

    def milliseconds(self, call: Callable[[Tensor], Any], images: Tensor) -> float:
        if self.kind != "cuda":
            started = time.process_time()
            call(images)
            return max(1e3 * (time.process_time() - started), 1e-6)
        torch.compiler.cudagraph_mark_step_begin()
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize()
        start.record()
        call(images)
        end.record()
        end.synchronize()
        return start.elapsed_time(end)

    # ---- what is called

    def kept(self, make: Callable[..., Any], options: Options, images: Tensor, dtype: str) -> Any:
        """What is called with the images, kept for the next method on the same backbone."""
        key = (make, str(options), len(images), dtype)
        if key not in self.callables:
            self.callables[key] = make(options, images, dtype)
        return self.callables[key]

    def eager(self, options: Options, images: Tensor, dtype: str) -> Any:
        return self.model(options, dtype)

    def graph(self, options: Options, images: Tensor, dtype: str) -> Any:
        """Replay of one captured forward pass; the images stay where they were."""
        model, images = self.model(options, dtype), images.clone()
        side, captured = torch.cuda.Stream(), torch.cuda.CUDAGraph()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                model(images)
        torch.cuda.current_stream().wait_stream(side)
        with torch.cuda.graph(captured):
            model(images)
        return partial(replay, captured, (model, images))

    def compiled(self, options: Options, images: Tensor, dtype: str) -> Any:
        """One graph: a second one is an error."""
        mode = MODES.get(len(images), "default") if self.backend == "inductor" else None
        model = self.model(options, dtype)
        if not getattr(model, "static_cost", True):
            model.set_execution("masked")
        call = torch.compile(model, fullgraph=True, dynamic=False, mode=mode, backend=self.backend)
        call(images)
        return call

    # ---- steps

    def run(self, dtypes: tuple[str, ...], mode: str, jobs: list[tuple[Options, int]]) -> None:
        """Time every job in every type; `mode` names the step."""
        record(self.args.rows, {"kind": "planned", "mode": mode, "count": len(jobs) * len(dtypes)})
        make = {"eager": self.eager, "graph": self.graph, "compiled": self.compiled}[mode]
        seen = self.compile_seconds() if mode == "compiled" else {}
        if mode == "compiled":  # what is in the cache first
            jobs = sorted(jobs, key=lambda job: (job[0]["name"], job[1]) not in seen)
        for dtype in dtypes:
            self.callables.clear()
            for options, batch in jobs:
                row = {"kind": "speed", "model": options["name"], "backbone": self.backbone(options)["name"]}
                row |= {"batch": batch, "mode": mode, "dtype": dtype, "options": options}
                need = (
                    seen.get((options["name"], batch), COLD) if mode == "compiled" and not self.args.rehearse else 2.0
                )
                if time.monotonic() + need > self.ends:
                    record(self.args.rows, row | {"error": f"skipped: would need about {need:.0f} s, budget spent"})
                    continue
                self.attempt(row, partial(self.pair, options, batch, dtype, make, mode == "compiled"))

    def compile_seconds(self) -> dict[tuple[str, int], float]:
        """Of the models that are in the compiler's cache."""
        rows = [r for r in read_rows(self.args.rows) if r.get("check") == "compiled equals eager" and "error" not in r]
        return {(r["model"], r["batch"]): float(r["seconds"]) for r in rows if r["size"] == "real"}

    def ceilings(self) -> None:
        """Rates of this card on random data, to judge the milliseconds by."""
        a, big = torch.randn(8192, 8192, device=self.device).bfloat16(), torch.randn(2**29, device=self.device)
        product = min(self.milliseconds(lambda _: a @ a, a) for _ in range(8))
        moved = min(self.milliseconds(lambda _: big.clone(), a) for _ in range(5))
        rates = {"bf16_tflops": round(2 * 8192**3 / product / 1e9, 1), "copy_tb_per_s": round(2**32 / moved / 1e9, 2)}
        record(self.args.rows, {"kind": "ceiling", **rates})


def replay(captured: Any, held: object, _: Tensor) -> None:
    """held: what the graph reads, so that its memory is not given to others."""
    captured.replay()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("eager", "graph", "compiled"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=90)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--rehearse", action="store_true")
    bench = Bench(args := parser.parse_args())
    chosen = methods(args.rehearse)
    if args.step == "eager":
        if bench.kind == "cuda":
            bench.ceilings()
        bench.run(DTYPES[bench.kind], "eager", [(o, b) for o in chosen for b in bench.batches])
    elif args.step == "graph":
        static = [o for o in chosen if getattr(bench.model(o, "float32"), "static_cost", False)]
        bench.run(("bfloat16",), "graph", [(o, b) for b in bench.batches for o in static])
    else:
        jobs = [(o, b) for o in chosen for b in bench.batches]
        bench.run((DTYPES[bench.kind][0],), "compiled", jobs[:1] if args.rehearse else jobs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
