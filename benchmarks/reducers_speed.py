"""Speed-up of every token reducer over its backbone, as a share of the ratio of multiply-accumulates.

    python benchmarks/reducers_speed.py                         all methods on DeiT-S, CPU, 1 thread, batch 16
    python benchmarks/reducers_speed.py atc mctf --rounds 20 --processes 5
    python benchmarks/reducers_speed.py pitome --operators      and the operators that take longest
    python benchmarks/reducers_speed.py --device cuda --dtype bfloat16 --batch 256 --csv results/bench/FILE.csv

Method and backbone run in turn in one process, so that a noisy machine disturbs both alike; its ratio is the median
over rounds. Processes differ by several points: glibc gives memory back and takes it anew in one and not in another.
So several measure one after the other, of which the median and the extremes are shown. With MALLOC_TRIM_THRESHOLD_ and
MALLOC_MMAP_THRESHOLD_ at 4000000000 they agree, and the backbone, whose tensors are larger, gains most. On the CPU the
time is process CPU time. `official` is the share that the method's official code reached at batch 8, where it was
measured.
"""

from __future__ import annotations

import argparse
import statistics
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import timm
import torch
from csv_rows import write_rows
from torch import Tensor, nn
from torch.profiler import profile

import dynvit
from dynvit.profiling.hardware import device_name
from dynvit.profiling.interleaved_timing import time_pair

CASES: list[tuple[str, dict[str, Any], float | None]] = [
    ("pitome", {"ratio": 0.925}, 0.90),
    ("tofu", {"ratio": 0.925}, 0.94),
    ("tome", {"r": 13}, None),
    ("diffrate", {"schedule": "deit_s_2.9"}, 0.90),
    ("mctf", {"r": 16}, 0.69),
    ("mctf", {"r": 0.35, "layers": (3, 6, 9)}, 0.86),
    ("atc", {}, 0.83),
    ("ats", {}, 0.99),
    ("evit", {}, None),
    ("topk", {}, 0.93),
    ("kmedoids", {}, 0.58),
    ("dpcknn", {"equal_weight": True}, 0.96),
    ("tps", {}, 0.93),
    ("sit", {}, 1.0),
    ("patchmerger", {}, None),
    ("sinkhorn", {}, 1.0),
    ("random", {}, None),
    ("uniform", {}, None),
]
"""Method, options, share of the official code; keep is 0.7 where it is not said."""

COLUMNS = ("method", "options", "gmacs", "mac_ratio", "speed_up", "low", "high", "share", "official")


def compare(method: str, options: dict[str, Any], args: argparse.Namespace) -> tuple[float, float, float]:
    """GMACs of the method, the ratio of MACs, and the median speed-up in this process."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    trunk = timm.create_model(args.trunk).to(args.device, getattr(torch, args.dtype)).eval()
    images = torch.randn(args.batch, *trunk.patch_embed.proj.weight.shape[1:2], *trunk.patch_embed.img_size)
    images = images.to(args.device, getattr(torch, args.dtype))
    reduced = dynvit.reduce(trunk, method, **options)
    # Of the first image: with some methods each costs another amount.
    gmacs, backbone = (dynvit.complexity(model, images[:1]).gmacs for model in (reduced, trunk))
    if args.operators:
        operators(reduced, images)
    timing = time_pair(reduced, trunk, images, args.rounds, warmup=2)
    return gmacs, backbone / gmacs, timing.speedup()[1]


def over_processes(
    method: str, options: dict[str, Any], official: float | None, args: argparse.Namespace
) -> dict[str, Any]:
    """A row of the table: the median over new processes, the slowest and the fastest."""
    with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        found = pool.starmap(compare, [(method, options, args)] * args.processes, chunksize=1)
    gmacs, ratio, _ = found[0]
    speed = [speed_up for _, _, speed_up in found]
    middle = statistics.median(speed)
    values = [gmacs, ratio, middle, min(speed), max(speed), middle / ratio]
    label = " ".join(f"{key}={value}" for key, value in options.items())
    return dict(zip(COLUMNS, [method, label, *(round(v, 3) for v in values), official], strict=True))


def operators(model: nn.Module, images: Tensor) -> None:
    with torch.inference_mode(), profile() as found:
        model(images)
    print(found.key_averages().table(sort_by="self_cpu_time_total", row_limit=30, max_name_column_width=40))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = list(dict.fromkeys(method for method, _, _ in CASES))
    parser.add_argument("methods", nargs="*", metavar="METHOD", help=f"of {', '.join(known)}; default: all")
    parser.add_argument("--trunk", default="deit_small_patch16_224")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--operators", action="store_true", help="print the operators that take longest")
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    if unknown := [method for method in args.methods if method not in known]:
        parser.error(f"no method {unknown[0]}; there are {', '.join(known)}")
    where = f"{device_name(args.device)}, {args.threads} thread(s), batch {args.batch}, {args.dtype}"
    print(f"torch {torch.__version__}, {where}, {args.trunk}")
    print(f"{'method':34} {'GMACs':>7} {'MACs x':>7} {'speed x':>8} {'low - high':>15} {'share':>6} {'official':>8}")
    rows = []
    for method, options, official in CASES:
        if method not in (args.methods or known):
            continue
        row = over_processes(method, options, official, args)
        rows.append(row)
        spread = f"{row['low']:.3f} - {row['high']:.3f}"
        print(
            f"{method + ' ' + row['options']:34} {row['gmacs']:7.3f} {row['mac_ratio']:7.3f} {row['speed_up']:8.3f} "
            f"{spread:>15} {row['share']:6.3f} {official or '':>8}",
            flush=True,
        )
    write_rows(args.csv, COLUMNS, rows)


if __name__ == "__main__":
    main()
