"""Very deep SReT with shared layers: parameters, time, peak memory and gradient norms of one training step by depth.

``python benchmarks/sret_depth.py`` takes a forward and backward step at 224 px with 20, 100, 300 and 1000 block
applications of the same ten blocks, each depth in a process of its own, with activation checkpointing.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import dynvit  # noqa: F401  registers the models

UNIQUE = 10  # blocks with weights of their own


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, nargs="+", default=[20, 100, 300, 1000])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--base-dim", type=int, default=64)
    parser.add_argument("--one", action="store_true", help="this process takes the step and prints one line of JSON")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(step(options.layers[0], options.batch, options.base_dim)))
        return
    head = f"{'layers':>6} {'params':>8} {'CPU s':>7} {'s/layer':>8} {'peak MB':>8} {'MB/layer':>8}"
    print(f"{head}  gradient norm by depth")
    previous = None
    for layers in options.layers:
        row = in_own_process(layers, options)
        more = layers - previous["layers"] if previous else layers
        seconds, megabytes = (row[k] - (previous[k] if previous else 0) for k in ("seconds", "megabytes"))
        norms = " ".join(f"{norm:.1e}" for norm in row["norms"])
        print(
            f"{layers:6} {row['params'] / 1e6:7.2f}M {row['seconds']:7.1f} {seconds / more:8.3f} "
            f"{row['megabytes']:8.0f} {megabytes / more:8.3f}  {norms}{'' if row['finite'] else '  NOT FINITE'}",
            flush=True,
        )
        previous = row


def in_own_process(layers: int, options: argparse.Namespace) -> dict:
    """Freed memory goes back to the system at once there, so that the peak is what was alive, not holes in a heap."""
    command = [sys.executable, __file__, "--one", "--layers", str(layers)]
    command += ["--batch", str(options.batch), "--base-dim", str(options.base_dim)]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def step(layers: int, batch: int, base_dim: int) -> dict:
    """One training step; norms are of the gradient that arrives after six applications spread over the depth."""
    torch.manual_seed(0)
    model = timm.create_model("sret_tiny", recursion=layers // UNIQUE, base_dim=base_dim, nll=False).train()
    model.set_grad_checkpointing()
    images = torch.randn(batch, 3, 224, 224)
    norms: dict[int, float] = {}
    watch(model, norms, layers)
    base, started = megabytes(), time.process_time()
    F.cross_entropy(model(images), torch.arange(batch)).backward()
    return {
        "layers": layers,
        "params": sum(p.numel() for p in model.parameters()),
        "seconds": time.process_time() - started,
        "megabytes": megabytes() - base,
        "norms": [norms[k] for k in sorted(norms)],
        "finite": all(p.grad.isfinite().all().item() for p in model.parameters()),
    }


def watch(model: nn.Module, norms: dict[int, float], layers: int) -> None:
    """Note the norm of the gradient at the output of some applications, the first and the last among them."""
    chosen = {round(i * (layers - 1) / 5) for i in range(6)}
    applied = [0]

    def after(_: nn.Module, args: tuple, out: Tensor) -> None:
        number = applied[0]
        applied[0] += 1  # counts on when a pass is computed again; those numbers are not chosen
        if number in chosen:
            out.register_hook(lambda gradient: norms.__setitem__(number, gradient.norm().item()))

    for stage in model.stages:
        for block in stage.blocks:
            block.register_forward_hook(after)


def megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
