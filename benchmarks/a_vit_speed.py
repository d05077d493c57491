"""Speed of A-ViT with halted tokens removed relative to its backbone, and the ratio of their multiply-accumulates.

    python benchmarks/a_vit_speed.py                     mean depth 8 of 12, CPU, 1 thread, batch 16
    python benchmarks/a_vit_speed.py --depth 6 --batch 64 --device cuda --dtype bfloat16

A fresh model halts nobody. Here the first channel of a token is that of its patch in a random image and no block
changes it, so depths differ from token to token and from image to image; the gate's centre sets their mean.
"""

from __future__ import annotations

import argparse

import timm
import torch
from torch import Tensor, nn

import dynvit
from dynvit.profiling.interleaved_timing import time_pair


@torch.no_grad()
def halting(name: str, images: Tensor, depth: float) -> nn.Module:
    """The model whose patches run `depth` layers in the mean on these images."""
    model = timm.create_model(name, gate_scale=1.0).eval()
    for block in model.blocks:
        for layer in (block.attn.proj, block.mlp.fc2):
            layer.weight[0], layer.bias[0] = 0, 0
    channel = model.patch_embed(images)[..., 0]
    model.patch_embed.proj.weight[0] /= channel.std()
    low, high = -8.0, 12.0
    for _ in range(24):
        centre = (low + high) / 2
        model.halting_score = type(model.halting_score)(1.0, centre, model.halting_score.eps)
        low, high = (centre, high) if mean_depth(model, images[:4]) < depth else (low, centre)
    return model


def mean_depth(model: nn.Module, images: Tensor) -> float:
    with dynvit.trace_tokens(model) as trace:
        model(images)
    return trace.depth.double().mean().item()


@torch.inference_mode()
def compare(name: str, trunk: str, args: argparse.Namespace) -> str:
    x = torch.randn(args.batch, 3, 224, 224)
    ours, theirs = halting(name, x, args.depth), timm.create_model(trunk).eval()
    found = mean_depth(ours, x)
    ratio = dynvit.complexity(theirs, x[:1]).macs.item() / dynvit.complexity(ours, x[:8]).macs.mean().item()
    dtype = getattr(torch, args.dtype)
    x, ours, theirs = x.to(args.device, dtype), ours.to(args.device, dtype), theirs.to(args.device, dtype)
    low, speed, high = time_pair(ours, theirs, x, args.rounds, warmup=2).speedup()
    spread = f"{low:.3f} - {high:.3f}"
    return f"{name:28} {found:6.2f} {ratio:7.3f} {speed:8.3f} {spread:>15} {speed / ratio:6.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", default=["tiny", "small"])
    parser.add_argument("--depth", type=float, default=8.0)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    print(f"{'model':28} {'depth':>6} {'MACs x':>7} {'speed x':>8} {'quartiles':>15} {'part':>6}")
    for size in args.sizes:
        names = f"avit_deit_{size}_patch16_224", f"deit_{size}_patch16_224"
        print(compare(*names, args), flush=True)


if __name__ == "__main__":
    main()
