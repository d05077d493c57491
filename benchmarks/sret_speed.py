"""Speed of SReT against DeiT of the same size: interleaved in one process, eager, folded and (``--compiled``) compiled.

``python benchmarks/sret_speed.py`` prints, per pair, how many images a second SReT does for one of DeiT: the median of
the repeats' ratios with their spread, by process CPU time and by wall clock, and the share of the MAC ratio reached.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import timm
import torch
from torch import Tensor, nn

import dynvit
from dynvit.profiling.hardware import device_name

TRUNKS = {"tiny": "deit_tiny_patch16_224", "small": "deit_small_patch16_224"}
Seconds = tuple[float, float]  # CPU, wall


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=list(TRUNKS), default=list(TRUNKS))
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compiled", action="store_true", help="compare compiled with compiled as well (minutes)")
    parser.add_argument("--noslice", action="store_true", help="the models without slices as well")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    return parser.parse_args()


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    where = f"{device_name(options.device)}, {options.threads} thread(s)"
    print(f"{where}, torch {torch.__version__}, batch {options.batch}, 224 px, {options.dtype}; above 1 SReT is faster")
    print(f"{'model':32} {'CPU ratio':>24} {'wall ratio':>24} {'MACs':>6} {'share':>6}")
    for size in options.sizes:
        for name in (f"sret_{size}", f"sret_{size}_noslice")[: 2 if options.noslice else 1]:
            compare(name, TRUNKS[size], options)


def compare(name: str, trunk: str, options: argparse.Namespace) -> None:
    image = torch.zeros(1, 3, 224, 224)
    model, rival = timm.create_model(name).eval(), timm.create_model(trunk).eval()
    macs = dynvit.complexity(rival, image).gmacs / dynvit.complexity(model, image).gmacs
    rivals = {name: rival, f"{name} folded": rival}
    models = {name: model, f"{name} folded": model.fuse()}
    if options.compiled:
        compiled = torch.compile(rival)
        for key in list(models):
            models[f"{key} compiled"], rivals[f"{key} compiled"] = torch.compile(models[key]), compiled
    images = torch.randn(options.batch, 3, 224, 224).to(options.device, getattr(torch, options.dtype))
    for module in {*models.values(), *rivals.values()}:
        module.to(images)
    for key, times in interleaved(models, rivals, images, options.repeats).items():
        cpu = [theirs[0] / ours[0] for ours, theirs in times]
        wall = [theirs[1] / ours[1] for ours, theirs in times]
        judged = cpu if options.device == "cpu" else wall
        share = statistics.median(judged) / macs
        print(f"{key:32} {spread(cpu):>24} {spread(wall):>24} {macs:6.2f} {share:6.0%}", flush=True)


def spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.3f} [{min(ratios):.3f}, {max(ratios):.3f}]"


def interleaved(
    models: dict[str, nn.Module], rivals: dict[str, nn.Module], images: Tensor, repeats: int
) -> dict[str, list[tuple[Seconds, Seconds]]]:
    """Model -> per repeat its time and its rival's, taken one right after the other."""
    times: dict[str, list[tuple[Seconds, Seconds]]] = {key: [] for key in models}
    with torch.inference_mode():
        for module in [*models.values(), *rivals.values()]:
            module(images)
        for _ in range(repeats):
            for key, module in models.items():
                times[key].append((seconds(module, images), seconds(rivals[key], images)))
    return times


def seconds(module: Callable[[Tensor], Any], images: Tensor) -> Seconds:
    wait = partial(torch.cuda.synchronize, images.device) if images.is_cuda else (lambda: None)
    wait()
    cpu, wall = time.process_time(), time.perf_counter()
    module(images)
    wait()
    return time.process_time() - cpu, time.perf_counter() - wall


if __name__ == "__main__":
    main()
