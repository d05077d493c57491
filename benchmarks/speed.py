"""Speed-up of each method over its plain trunk, beside the ratio of their multiply-accumulates.

    python benchmarks/speed.py                      all models below, CPU, 1 thread, batch 16
    python benchmarks/speed.py evo_deit_small_patch16_224 --batch 1
    python benchmarks/speed.py --compile --device cuda --dtype bfloat16 --batch 256 --csv results/bench/FILE.csv

Model and trunk run in turn in one process, so that a noisy machine disturbs both alike; the ratio is the median over
rounds, the spread its quartiles. On the CPU the time is process CPU time. `part` is speed-up / MAC ratio.
"""

from __future__ import annotations

import argparse
import csv
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import timm
import torch
from torch import nn

import dynvit

TRUNKS = {
    "sret_tiny": "deit_tiny_patch16_224",
    "sret_small": "deit_small_patch16_224",
    "evo_deit_tiny_patch16_224": "deit_tiny_patch16_224",
    "evo_deit_small_patch16_224": "deit_small_patch16_224",
    "evo_deit_base_patch16_224": "deit_base_patch16_224",
    "evit_deit_tiny_patch16_224": "deit_tiny_patch16_224",
    "evit_deit_small_patch16_224": "deit_small_patch16_224",
    "evit_deit_base_patch16_224": "deit_base_patch16_224",
    "tome_deit_tiny_patch16_224": "deit_tiny_patch16_224",
    "tome_deit_small_patch16_224": "deit_small_patch16_224",
    "tome_deit_base_patch16_224": "deit_base_patch16_224",
    "lvvit_tiny": "deit_tiny_patch16_224",
    "lvvit_small": "deit_small_patch16_224",
    "dynamicvit_deit_tiny_patch16_224": "deit_tiny_patch16_224",
    "dynamicvit_deit_small_patch16_224": "deit_small_patch16_224",
    "dynamicvit_deit_base_patch16_224": "deit_base_patch16_224",
    "dynamicvit_lvvit_small": "lvvit_small",
    "dynamicvit_lvvit_medium": "lvvit_medium",
    "evo_levit_128s": "levit_128s",
    "evo_levit_128": "levit_128",
    "evo_levit_192": "levit_192",
    "evo_levit_256": "levit_256",
    "evo_levit_384": "levit_384",
}


def timed(run: Callable[[], object], device: str) -> float:
    """Seconds of one call: CPU time on the CPU, wall clock with synchronisation elsewhere."""
    if device == "cpu":
        start = time.process_time()
        run()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def build(name: str, args: argparse.Namespace) -> nn.Module:
    model = timm.create_model(name).eval()
    if args.fuse and hasattr(model, "fuse"):
        model = model.fuse()
    model = model.to(args.device, getattr(torch, args.dtype))
    return torch.compile(model) if args.compile else model


@torch.inference_mode()
def compare(name: str, args: argparse.Namespace) -> dict[str, object]:
    trunk = TRUNKS.get(name) or args.trunk
    ours, theirs = build(name, args), build(trunk, args)
    x = torch.randn(args.batch, 3, 224, 224).to(args.device, getattr(torch, args.dtype))
    one = torch.randn(1, 3, 224, 224)
    macs = [dynvit.complexity(timm.create_model(n), one).macs.item() for n in (name, trunk)]
    for model in (ours, theirs, ours, theirs):
        model(x)
    rounds = []
    for _ in range(args.rounds):
        a, b = timed(lambda: ours(x), args.device), timed(lambda: theirs(x), args.device)
        rounds.append(b / a)
    low, middle, high = statistics.quantiles(rounds, n=4)
    ratio = macs[1] / macs[0]
    return {
        "model": name,
        "trunk": trunk,
        "gmacs": round(macs[0] / 1e9, 3),
        "mac_ratio": round(ratio, 3),
        "speed_up": round(middle, 3),
        "low": round(low, 3),
        "high": round(high, 3),
        "part": round(middle / ratio, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(TRUNKS))
    parser.add_argument("--trunk", help="for a model that this file does not know")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--fuse", action="store_true", help="fold batch norms and scalars first, where a model can")
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.cuda.get_device_name() if args.device.startswith("cuda") else platform.processor() or "cpu"
    print(f"torch {torch.__version__}, {device}, {args.threads} thread(s), batch {args.batch}, {args.dtype}, 224 px")
    print(f"{'model':34} {'trunk':24} {'GMACs':>7} {'MACs x':>7} {'speed x':>8} {'quartiles':>15} {'part':>6}")
    rows = []
    for name in args.models:
        row = compare(name, args)
        rows.append(row)
        spread = f"{row['low']:.3f} - {row['high']:.3f}"
        print(
            f"{name:34} {row['trunk']:24} {row['gmacs']:7.3f} {row['mac_ratio']:7.3f} {row['speed_up']:8.3f} "
            f"{spread:>15} {row['part']:6.3f}",
            flush=True,
        )
    if args.csv:
        args.csv.parent.mkdir(parents=True, exist_ok=True)
        with args.csv.open("w", newline="") as f:
            writer = csv.DictWriter(f, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
