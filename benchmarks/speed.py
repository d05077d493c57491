"""Speed-up of each method over its backbone, and the ratio of their multiply-accumulates.

    python benchmarks/speed.py                      all our models, CPU, 1 thread, batch 16
    python benchmarks/speed.py evo_deit_small_patch16_224 --batch 1
    python benchmarks/speed.py --mode compiled --device cuda --dtype bfloat16 --batch 256 --csv results/bench/FILE.csv

Model and trunk run in turn in one process, so that a noisy machine disturbs both alike; the ratio is the median over
rounds, the spread its quartiles. On the CPU the time is process CPU time. `part` is speed-up / MAC ratio. What runs is
the task `cost`, model after model.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args, get_type_hints

import torch
from csv_rows import write_rows

import dynvit
from dynvit.context import NullContext
from dynvit.profiling.hardware import device_name
from dynvit.tasks.cost import Config, Timing, run

COLUMNS = ("model", "trunk", "gmacs", "mac_ratio", "speed_up", "low", "high", "part")


def compare(name: str, args: argparse.Namespace) -> dict[str, object]:
    timing = Timing(True, (args.batch,), modes=(args.mode,), rounds=args.rounds, fuse=args.fuse)
    trunk = {"name": args.trunk or ""}
    config = Config({"name": name}, trunk, dtype=args.dtype, threads=args.threads, timing=timing)
    result = run(config, NullContext(device=args.device))
    found, end = result["metrics"], f"b{args.batch}" + ("" if args.mode == "eager" else f"_{args.mode}")
    if "mac_ratio" not in found:
        raise SystemExit(f"{name} is no method with a trunk: say which with --trunk")
    if reasons := result["about"].get("not_timed"):
        raise SystemExit(f"{name}: {next(iter(reasons.values()))}")
    speeds = (found[f"{key}_{end}"] for key in ("speedup", "speedup_low", "speedup_high", "share"))
    values = [found["gflops"], found["mac_ratio"], *speeds]
    return dict(zip(COLUMNS, [name, result["about"]["trunk"], *(round(v, 3) for v in values)], strict=True))


def methods() -> list[str]:
    """All our models at 224 pixels."""
    return [name for name in dynvit.list_models() if not name.endswith("_384")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="default: all our models at 224 px")
    parser.add_argument("--trunk", help="instead of the method's own")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--mode", choices=get_args(get_type_hints(Timing)["modes"])[0].__args__, default="eager")
    parser.add_argument("--fuse", action="store_true", help="fold batch norms and scalars first, where a model can")
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    where = f"{device_name(args.device)}, {args.threads} thread(s), batch {args.batch}, {args.dtype}"
    print(f"torch {torch.__version__}, {where}")
    print(f"{'model':34} {'trunk':24} {'GMACs':>7} {'MACs x':>7} {'speed x':>8} {'quartiles':>15} {'part':>6}")
    rows = []
    for name in args.models or methods():
        row = compare(name, args)
        rows.append(row)
        spread = f"{row['low']:.3f} - {row['high']:.3f}"
        print(
            f"{name:34} {row['trunk']:24} {row['gmacs']:7.3f} {row['mac_ratio']:7.3f} {row['speed_up']:8.3f} "
            f"{spread:>15} {row['part']:6.3f}",
            flush=True,
        )
    write_rows(args.csv, COLUMNS, rows)


if __name__ == "__main__":
    main()
