"""Whether every family of methods computes on a device what it computes on the CPU; a step of `on_gpu.py`.

    python benchmarks/gpu_correctness.py device --device cuda --seconds 120 --rows results.jsonl

device   float32 logits equal the CPU's within 1e-4, masked equals gathered, token decisions under bfloat16 autocast
         that differ from float32's, one training step with finite loss and gradients: a small and a real size each.
compile  one of several processes that compile side by side: small models in float32 must equal eager execution (batch
         2 plain, batch 1 with CUDA graphs), then the models that gpu_speed.py times, whose kernels stay in the
         compiler's cache. A file in `--claimed` marks a job that another process has taken.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
import torch._dynamo
from gpu_models import FAMILIES, SEED, Options, methods, small_models
from gpu_speed import MODES, Bench
from torch import Tensor, nn

import dynvit

LIMIT = 1e-4


def lively(options: Options) -> nn.Module:
    """On the CPU, with weights of unit gain, as trained ones have: fresh ones leave scores nearly tied."""
    torch.manual_seed(SEED)
    model = timm.create_model(options["name"], **{k: v for k, v in options.items() if k != "name"})
    for name, parameter in model.named_parameters():
        if name.startswith(("stabilizer", "controller")):
            continue
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.3 if "token" in name or "pos" in name else parameter[0].numel() ** -0.5)
        elif name.endswith("bias"):
            nn.init.normal_(parameter, std=0.2)
    return model.eval()


@torch.no_grad()
def traced(model: nn.Module, images: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Logits, and the active tokens of every layer, on the CPU."""
    with dynvit.trace_tokens(model) as trace:
        logits = model(images).float().cpu()
    return logits, [active.cpu() for active in trace.active]


def differing(ours: list[Tensor], theirs: list[Tensor]) -> Options:
    """Of all decisions (image, layer, token), those that differ."""
    pairs = list(zip(ours, theirs, strict=True))
    return {"differing": sum(int((a != b).sum()) for a, b in pairs), "decisions": sum(a.numel() for a, _ in pairs)}


class Checks:
    """All checks of one model; each gives a row of its own."""

    def __init__(self, bench: Bench, options: Options, size: str) -> None:
        self.bench, self.options, self.kind = bench, options, bench.kind
        self.row = {"kind": "correctness", "model": options["name"], "size": size, "options": options}

    def run(self) -> None:
        checks = {"built": self.build, "float32 equals CPU": self.equals_cpu}
        checks |= {"masked equals gathered": self.masked_equals_gathered}
        checks |= {"decisions in bfloat16": self.decisions, "training step": self.training_step}
        for name, check in checks.items():
            dtype = "bfloat16 autocast" if check in (self.decisions, self.training_step) else "float32"
            found = self.bench.attempt({**self.row, "check": name, "dtype": dtype}, check)
            if name == "built" and "error" in found:
                return

    def build(self) -> Options:
        side = self.options.get("img_size", 224)
        self.images = torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(SEED))
        self.cpu, self.model = lively(self.options), lively(self.options).to(self.bench.device)
        self.x = self.images.to(self.bench.device)
        return {"ok": True}

    def verdict(self, ours: Tensor, theirs: Tensor) -> Options:
        """Largest difference of logits; a limit of LIMIT at logits of order one."""
        scale = max(1.0, float(theirs.abs().max()))
        value = float((ours - theirs).abs().max()) / scale
        return {"value": value, "scale": scale, "limit": LIMIT, "ok": value <= LIMIT}

    def equals_cpu(self) -> Options:
        (ours, active), (theirs, expected) = traced(self.model, self.x), traced(self.cpu, self.images)
        return self.verdict(ours, theirs) | differing(active, expected)

    def masked_equals_gathered(self) -> Options:
        gathered, active = traced(self.model, self.x)
        self.model.set_execution("masked")
        try:
            masked, same = traced(self.model, self.x)
        finally:
            self.model.set_execution("gathered")
        return self.verdict(masked, gathered) | differing(active, same)

    def decisions(self) -> Options:
        """How many decisions bfloat16 changes; a number, not a verdict."""
        logits, active = traced(self.model, self.x)
        with torch.autocast(self.kind, torch.bfloat16):
            rounded, same = traced(self.model, self.x)
        return {"value": float((rounded - logits).abs().max()), **differing(active, same)}

    def training_step(self) -> Options:
        model = self.model.train()
        if hasattr(model, "set_epoch"):
            model.set_epoch(9, 10)
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
        target = torch.arange(len(self.x), device=self.x.device)
        with torch.autocast(self.kind, torch.bfloat16):
            loss = dynvit.training_loss(model(self.x), target)
        loss.backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        finite = all(bool(g.isfinite().all()) for g in gradients) and bool(loss.isfinite())
        optimizer.step()
        finite &= all(bool(p.isfinite().all()) for p in model.parameters())
        return {"value": float(loss.detach()), "gradients": len(gradients), "ok": finite}


def compilations(bench: Bench) -> Iterator[tuple[Options, int, float | None]]:
    """Model, batch, and the limit of its difference from eager execution; None: recorded only."""
    rehearse = bench.args.rehearse
    for options in small_models()[5:6] if rehearse else small_models():
        yield options, 2, LIMIT
        yield options, 1, LIMIT
    done = []
    for method in methods(rehearse)[: 1 if rehearse else None]:
        for batch in bench.batches[: 1 if rehearse else None]:
            for options in (method, bench.backbone(method)):
                if (options, batch) not in done:
                    done.append((options, batch))
                    yield options, batch, None


def compile_all(bench: Bench, claimed: Path) -> None:
    """Compile what no other process has taken, until the time is up."""
    for number, (options, batch, limit) in enumerate(compilations(bench)):
        if time.monotonic() > bench.ends - 10:
            return
        try:
            (claimed / str(number)).touch(exist_ok=False)
        except FileExistsError:
            continue
        dtype = "bfloat16" if bench.kind == "cuda" and not limit else "float32"
        row = {"kind": "correctness", "model": options["name"], "batch": batch, "dtype": dtype, "limit": limit}
        row |= {"size": "small" if limit else "real", "mode": MODES.get(batch, "default"), "options": options}
        bench.attempt({**row, "check": "compiled equals eager"}, partial(compiled, bench, options, batch, dtype, limit))
        bench.callables.clear()
        torch._dynamo.reset()


@torch.no_grad()
def compiled(bench: Bench, options: Options, batch: int, dtype: str, limit: float | None) -> Options:
    """Compiled into one graph (a second one is an error) against eager execution."""
    exact(bool(limit))
    images = bench.images(options, batch, dtype)
    expected = bench.model(options, dtype)(images).float()
    call = bench.compiled(options, images, dtype)
    for _ in range(3 if bench.kind == "cuda" else 1):  # a CUDA graph is warmed up, recorded, replayed
        if bench.kind == "cuda":
            torch.compiler.cudagraph_mark_step_begin()
        found = call(images).float().clone()
    difference = float((found - expected).abs().max())
    return {"value": difference, "scale": float(expected.abs().max())} | ({"ok": difference <= limit} if limit else {})


def exact(wanted: bool) -> None:
    """Matrix products of float32 in full precision, or in TF32 as when speed is taken."""
    torch.set_float32_matmul_precision("highest" if wanted else "high")
    torch.backends.cudnn.allow_tf32 = not wanted


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("device", "compile"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--claimed", type=Path)
    parser.add_argument("--rehearse", action="store_true")
    bench: Any = Bench(args := parser.parse_args())
    if args.step == "compile":
        torch.set_num_threads(1)
        compile_all(bench, args.claimed)
        return 0
    exact(True)
    torch.set_num_threads(min(4, torch.get_num_threads()))  # the compilers work beside
    sizes = ("small",) if args.rehearse else ("small", "real")
    for size in sizes:
        for small, small_options, real, real_options in FAMILIES:
            if time.monotonic() > bench.ends:
                return 0
            name, options = (small, small_options) if size == "small" else (real, real_options)
            Checks(bench, {"name": name, **options}, size).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
