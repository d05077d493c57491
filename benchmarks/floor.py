"""How fast a method could be: the kernels that its weights and numbers of tokens force, without what lies between.

    python benchmarks/floor.py                  our models of DeiT-T size and all reducers, CPU, batch 1 and 16
    python benchmarks/floor.py tome evo_deit_tiny_patch16_224 --batch 1 --rounds 20

A first pass records every call of linear layers, convolutions, norms, activations and fused attention with its inputs;
the floor is these calls alone, one after the other. Method, its floor, backbone and its floor run in turn in one
process, on the CPU by process CPU time. `floor x` is the backbone's floor over the method's: the speed-up that these
kernels allow. `of floor` is the measured speed-up over it, `of MACs` over the ratio of multiply-accumulates; the spread
is that of the measured speed-up (quartiles of the rounds). Names are models of dynvit or token reducers, which work on
--trunk.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from csv_rows import write_rows
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import dynvit
from dynvit.profiling.hardware import device_name
from dynvit.profiling.interleaved_timing import Seconds, quartiles, timed
from dynvit.trunks import trunk_of

FORCED = frozenset(
    (F.linear, F.conv2d, F.layer_norm, F.batch_norm, F.gelu, F.hardswish, F.scaled_dot_product_attention)
)
MODELS = (
    "evit_deit_tiny_patch16_224", "dynamicvit_deit_tiny_patch16_224", "evo_deit_tiny_patch16_224",
    "mor_vit_tiny_patch16_224", "tpc_deit_tiny_patch16_224", "sret_tiny", "evo_levit_128s",
)  # fmt: skip
COLUMNS = ("name", "batch", "mac_ratio", "floor", "speed_up", "low", "high", "of_floor", "of_macs")


class Recording(TorchFunctionMode):
    """Keeps the forced calls of a forward pass, with the tensors that they got."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Callable[[], object]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in FORCED:
            self.calls.append(partial(func, *args, **(kwargs or {})))
        return func(*args, **(kwargs or {}))


def floor(model: nn.Module, images: Tensor) -> Callable[[Tensor], None]:
    """Return what repeats the forced calls of the model's forward pass of these images."""
    with torch.inference_mode(), Recording() as recording:
        model(images)

    def repeat(_: Tensor) -> None:
        for call in recording.calls:
            call()

    return repeat


def models(name: str, trunk: str) -> tuple[nn.Module, nn.Module]:
    """A method and its backbone."""
    torch.manual_seed(0)
    if name in dynvit.list_reducers():
        backbone = timm.create_model(trunk).eval()
        return dynvit.reduce(backbone, name).eval(), backbone
    options = trunk_of({"name": name})
    if options is None:
        raise SystemExit(f"{name} is no method with a backbone")
    return timm.create_model(name).eval(), timm.create_model(options.pop("name"), **options).eval()


def compare(name: str, batch: int, args: argparse.Namespace) -> dict[str, object]:
    method, backbone = (model.to(args.device) for model in models(name, args.trunk))
    side = method.default_cfg["input_size"][-1]
    images = torch.randn(batch, 3, side, side, device=args.device)
    ratio = dynvit.complexity(backbone, images[:1]).gmacs / dynvit.complexity(method, images[:1]).gmacs
    calls = (method, backbone, floor(method, images), floor(backbone, images))
    rows: list[list[Seconds]] = []
    with torch.inference_mode():
        for _ in range(args.warmup + args.rounds):
            rows.append([timed(call, images) for call in calls])
    times = [[one.cpu_or_wall for one in row] for row in rows[args.warmup :]]
    low, speed_up, high = quartiles([theirs / ours for ours, theirs, _, _ in times])
    allowed = quartiles([theirs / ours for _, _, ours, theirs in times])[1]
    values = (ratio, allowed, speed_up, low, high, speed_up / allowed, speed_up / ratio)
    return dict(zip(COLUMNS, [name, batch, *(round(v, 3) for v in values)], strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="default: our models of DeiT-T size and every reducer")
    parser.add_argument("--trunk", default="deit_tiny_patch16_224", help="of the reducers")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"torch {torch.__version__}, {device_name(args.device)}, {args.threads} thread(s)")
    heads = f"{'name':34} {'batch':>5} {'MACs x':>7} {'floor x':>8} {'speed x':>8}"
    print(f"{heads} {'quartiles':>15} {'of floor':>9} {'of MACs':>8}")
    rows = []
    for name in args.names or [*MODELS, *dynvit.list_reducers()]:
        for batch in args.batch:
            rows.append(row := compare(name, batch, args))
            spread = f"{row['low']:.3f} - {row['high']:.3f}"
            print(
                f"{name:34} {batch:5} {row['mac_ratio']:7.3f} {row['floor']:8.3f} {row['speed_up']:8.3f} {spread:>15} "
                f"{row['of_floor']:9.3f} {row['of_macs']:8.3f}",
                flush=True,
            )
    write_rows(args.csv, COLUMNS, rows)


if __name__ == "__main__":
    main()
