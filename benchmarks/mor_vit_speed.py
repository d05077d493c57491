"""Speed-up of MoR-ViT's routing over the same model at full depth, and the ratio of their multiply-accumulates.

    python benchmarks/mor_vit_speed.py                        CPU, 1 thread, batch 16, a few rounds
    python benchmarks/mor_vit_speed.py --size small --rounds 9 --only token
    python benchmarks/mor_vit_speed.py --device cuda --dtype bfloat16 --batch 256 [--compile]

Each case and the full-depth model run in turn in one process, so that a noisy machine disturbs both alike; the ratio
is the median over rounds, the spread its quartiles. CPU: process CPU time. ``part`` is speed-up / MAC ratio, the share
of the saved arithmetic that is saved time. Token depths are drawn uniformly with mean 6 of 12 (no trained router is
needed to time the mechanism), so images of a batch have different counts. A training step is forward, loss, backward.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext

import timm
import torch
from torch import Tensor, nn

import dynvit
from dynvit.macs import complexity, count_macs
from dynvit.profiling.interleaved_timing import quartiles

CASES: dict[str, tuple[str, dict[str, object]]] = {
    "expert 0.4 frozen": ("eval", {"routing": "expert", "capacity": 0.4}),
    "expert 0.4 active": ("eval", {"routing": "expert", "capacity": 0.4, "context": "active_only"}),
    "expert linear frozen": ("eval", {"routing": "expert"}),
    "token mean 6 frozen": ("eval", {"routing": "token"}),
    "token mean 6 active": ("eval", {"routing": "token", "context": "active_only"}),
    "token mean 6 first_kv": ("eval", {"routing": "token", "context": "first_kv"}),
    "token, all 12": ("eval", {"routing": "token"}),
    "expert linear, step": ("step", {"routing": "expert"}),
    "expert linear active, step": ("step", {"routing": "expert", "context": "active_only"}),
}


class DrawnDepths(nn.Module):
    """In place of the router's net: the net runs, but the depths are drawn beforehand for this batch."""

    def __init__(self, net: nn.Module, batch: int, tokens: int, uniform: bool) -> None:
        super().__init__()
        self.net = net
        draw = torch.Generator().manual_seed(0)
        depth_BM = torch.randint(0, 11, (batch, tokens), generator=draw) if uniform else torch.full((batch, tokens), 11)
        self.register_buffer("onehot_BMD", nn.functional.one_hot(depth_BM, 12).float(), persistent=False)

    def forward(self, x_BMC: Tensor) -> Tensor:
        return self.net(x_BMC) * 0 + self.onehot_BMD[: len(x_BMC)].to(x_BMC.dtype)


def build(args: argparse.Namespace, case: str, options: dict[str, object]) -> nn.Module:
    torch.manual_seed(0)
    model = timm.create_model(f"mor_vit_{args.size}_patch16_224", **options)
    if options["routing"] == "token":
        model.router.net = DrawnDepths(model.router.net, args.batch, 197, "mean" in case)
    return model.to(args.device, getattr(torch, args.dtype))


def macs(model: nn.Module, images: Tensor) -> float:
    """Mean per image, each alone with its own depths: what it needs, without the padding of a batch."""
    if model.static_cost:
        return float(complexity(model, images[:1]).macs[0])
    depths_BM = model.router.net.onehot_BMD
    total = 0.0
    for i in range(min(len(images), 16)):
        model.router.net.onehot_BMD = depths_BM[i : i + 1]
        with count_macs() as counter, torch.no_grad():
            model.eval()(images[i : i + 1])
        total += counter.macs
    model.router.net.onehot_BMD = depths_BM
    return total / min(len(images), 16)


def runner(model: nn.Module, mode: str, images: Tensor, compiled: bool) -> Callable[[], object]:
    """One evaluation of the batch, or one training step without the optimiser."""
    model.train(mode == "step")
    call = torch.compile(model) if compiled else model
    target = torch.zeros(len(images), dtype=torch.long, device=images.device)

    def step() -> None:
        dynvit.training_loss(call(images), target).backward()
        model.zero_grad()

    def evaluate() -> None:
        with torch.inference_mode() if not compiled else torch.no_grad():
            call(images)

    return step if mode == "step" else evaluate


def timed(run: Callable[[], object], device: str) -> float:
    if device == "cpu":
        start = time.process_time()
        run()
        return time.process_time() - start
    torch.cuda.synchronize(device)
    start = time.perf_counter()
    run()
    torch.cuda.synchronize(device)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="tiny", choices=["tiny", "small", "base"])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    args = parser.parse_args()
    if not any(args.only in case for case in CASES):
        parser.error(f"no case contains {args.only!r}; there are {', '.join(CASES)}")
    torch.set_num_threads(1)
    images = torch.randn(args.batch, 3, 224, 224, device=args.device, dtype=getattr(torch, args.dtype))
    full = build(args, "full", {"routing": "off"})
    full_macs = macs(full, images)
    print(f"mor_vit_{args.size} {args.device} {args.dtype} batch {args.batch}{' compiled' if args.compile else ''}")
    print(f"{'case':28} {'MAC ratio':>9} {'speed-up':>9} {'quartiles':>13} {'part':>6}  {'ms':>8}")
    for case, (mode, options) in CASES.items():
        if args.only not in case:
            continue
        model = build(args, case, options)
        ratio = full_macs / macs(model, images)
        pair = [runner(full, mode, images, args.compile), runner(model, mode, images, args.compile)]
        rounds = []
        with nullcontext() if mode == "step" else torch.no_grad():
            for run in pair * (3 if args.compile or args.device != "cpu" else 1):
                run()
            for _ in range(args.rounds):
                rounds.append([timed(run, args.device) for run in pair])
        speed = [a / b for a, b in rounds]
        low, middle, high = quartiles(speed)
        milliseconds = 1e3 * statistics.median(b for _, b in rounds)
        print(f"{case:28} {ratio:9.3f} {middle:9.3f} {low:6.3f} {high:6.3f} {middle / ratio:6.3f}  {milliseconds:8.1f}")


if __name__ == "__main__":
    main()
