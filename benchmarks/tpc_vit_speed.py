"""How much of TPC-ViT's saving becomes time, against its trunk: ``python benchmarks/tpc_vit_speed.py --trunk swin``.

Dense is timed in turns, in CPU seconds of this process (one thread) or, on a GPU, in bfloat16 with the device
synchronised. Prints medians with quartiles, the speed-up and its share of the MAC ratio.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext

import timm
import torch
from timm.models.vision_transformer import Block
from torch import Tensor

import dynvit  # noqa: F401  (registers the models)
from dynvit.layers.block import run_block_on_grid
from dynvit.layers.token_layout import Dense, Gathered, GridLayout, Masked, Packed
from dynvit.macs import complexity
from dynvit.models.tpc_vit.markov_chain import topk_indices
from dynvit.profiling.interleaved_timing import quartiles

Call = Callable[[], object]
NAMES = {"deit": "deit_{}_patch16_224", "lvvit": "lvvit_{}", "swin": "swin_{}_patch4_window7_224"}


def interleaved(calls: dict[str, Call], repeats: int, device: str) -> dict[str, list[float]]:
    """Seconds of each call, one round after the other; the first round is not counted."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats + 1):
        for name, call in calls.items():
            start = clock()
            call()
            if device != "cpu":
                torch.cuda.synchronize(device)
            if turn:
                seconds[name].append(clock() - start)
    return seconds


def show(seconds: dict[str, list[float]], costs: dict[str, float]) -> None:
    """One line per call; the first call is the reference."""
    first = next(iter(seconds))
    print(f"{'':34}{'ms':>9}{'quartiles':>18}{'speed-up':>10}{'MAC ratio':>11}{'share':>8}")
    for name, values in seconds.items():
        low, middle, high = quartiles(values)
        faster = statistics.median(a / b for a, b in zip(seconds[first], values, strict=True))
        line = f"{name:34}{middle * 1e3:9.1f}{f'{low * 1e3:.1f}..{high * 1e3:.1f}':>18}{faster:10.3f}"
        if name in costs:
            ratio = costs[first] / costs[name]
            line += f"{ratio:11.3f}{faster / ratio:8.3f}"
        print(line)


def models(trunk: str, size: str, batch: int, device: str) -> tuple[dict[str, Call], dict[str, float]]:
    """The trunk, the controller with every token active, and equal counts at three keep rates."""
    theirs, images = NAMES[trunk].format(size), torch.randn(batch, 3, 224, 224, device=device)
    name = f"tpc_{theirs}"
    built = {
        theirs: timm.create_model(theirs),
        "pause false, stabilizer off": timm.create_model(name, pause=False, stabilizer="off"),
        "pause false, dw_pre": timm.create_model(name, pause=False),
        "all active, controller + dw_pre": timm.create_model(name, score_scale=0.01),  # untrained, noise would pause
        **{f"keep rate {rate}": timm.create_model(name, keep_rate=rate) for rate in (0.7, 0.5, 0.3)},
    }
    calls, costs = {}, {}
    for label, model in built.items():
        model.to(device).eval()
        costs[label] = complexity(model, images[:1]).gmacs
        calls[label] = lambda model=model: model(images)  # type: ignore[misc]
    return calls, costs


def layouts(size: str, batch: int, device: str) -> dict[str, Call]:
    """One block, half of the tokens active on average: ways to run it when images keep different numbers."""
    model = timm.create_model(f"deit_{size}_patch16_224").to(device).eval()
    block, u_BTC = model.blocks[0], torch.randn(batch, 197, model.embed_dim, device=device)
    scores_BN = torch.rand(batch, 196, device=device)
    counts = torch.linspace(0.3, 0.7, batch).mul(196).round().int().tolist()
    active_BT = torch.ones(batch, 197, dtype=torch.bool, device=device)
    active_BT[:, 1:] = False
    for image, count in enumerate(counts):
        active_BT[image, 1 + topk_indices(scores_BN[image, None], count)[0]] = True
    equal_BK = torch.cat([scores_BN.new_zeros(batch, 1, dtype=torch.long), topk_indices(scores_BN, 98) + 1], 1)
    return {
        "block, all tokens": lambda: once(block, u_BTC, Dense()),
        "masked": lambda: once(block, u_BTC, Masked(active_BT)),
        "equal counts (98 each)": lambda: once(block, u_BTC, Gathered(equal_BK)),
        "ragged (59..137)": lambda: once(block, u_BTC, Packed.from_mask(active_BT)),
        "padded to the largest": lambda: padded(block, u_BTC, active_BT),
        "grouped by count": lambda: grouped(block, u_BTC, active_BT),
    }


def once(block: Block, u_BTC: Tensor, layout: GridLayout) -> Tensor:
    return layout.scatter(u_BTC, run_block_on_grid(block, u_BTC, layout)[0])


def padded(block: Block, u_BTC: Tensor, active_BT: Tensor) -> Tensor:
    """Not what the model does: every image padded to the largest count, the padding masked as keys."""
    largest = int(active_BT.sum(1).max())
    index_BK = active_BT.int().argsort(dim=1, descending=True, stable=True)[:, :largest]
    layout = Gathered(index_BK)
    layout.keys = active_BT.gather(1, index_BK)
    return torch.where(active_BT[..., None], once(block, u_BTC, layout), u_BTC)


def grouped(block: Block, u_BTC: Tensor, active_BT: Tensor) -> Tensor:
    """Not what the model does: one run for the images of each count."""
    out, counts_B = u_BTC.clone(), active_BT.sum(1)
    for count in counts_B.unique():
        rows = (counts_B == count).nonzero()[:, 0]
        index_GK = active_BT[rows].nonzero()[:, 1].view(len(rows), -1)
        out[rows] = once(block, u_BTC[rows], Gathered(index_GK))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("--trunk", default="deit", choices=list(NAMES))
    parser.add_argument("--size", default="small", choices=["tiny", "small", "medium", "base"])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    on_gpu = options.device.startswith("cuda")
    half = torch.autocast("cuda", torch.bfloat16) if on_gpu else nullcontext()
    dtype = "bfloat16" if on_gpu else "float32"
    print(f"torch {torch.__version__}, {options.device}, batch {options.batch}, {dtype}")
    with torch.inference_mode(), half:
        calls, costs = models(options.trunk, options.size, options.batch, options.device)
        show(interleaved(calls, options.repeats, options.device), costs)
        if options.trunk == "deit":
            ways = layouts(options.size, options.batch, options.device)
            show(interleaved(ways, 3 * options.repeats, options.device), {})


if __name__ == "__main__":
    main()
