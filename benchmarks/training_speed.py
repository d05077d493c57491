"""Cost of a training update: every method against its backbone, the share of data loading, several trials at once.

    python benchmarks/training_speed.py                                 CPU, 32 pixels, batch 64, cut sizes
    python benchmarks/training_speed.py --device cuda --full --batch 128 --at-once 1,2,4,8 --csv results/bench/FILE.csv

Models are those of the study cifar10 (--full: at their gpu size, width 192, 12 blocks; else width 96, 4 blocks), images
are random. Method and backbone alternate in one process, so that other load affects both alike: `step` is
the method's time over the backbone's, median of the rounds with quartiles (CPU: process time), `MACs` the same of their
multiply-accumulates at inference, `trained` in training mode: methods that train with masks save nothing there.
`excess` is `step` over `trained`: the time that arithmetic does not explain. `saved` is the memory that autograd keeps
for the backward pass over the backbone's, counted on the CPU in float32. `data` is the share of an update's time spent
on loading and augmenting images. `at once` trains the backbone in several processes on one
device and gives their updates per second relative to one process.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from csv_rows import write_rows
from PIL import Image
from torch import Tensor

from dynvit.context import NullContext
from dynvit.macs import complexity
from dynvit.profiling.interleaved_timing import quartiles, timed
from dynvit.profiling.training_cost import profile_training
from dynvit.tasks.classify import Augment, Config, Data, Train
from dynvit.train.distributed import ProcessGroup
from dynvit.train.loop import update
from dynvit.train.mixup import BatchAugmentation
from dynvit.train.state import Clock, build, build_state

TRUNK = "deit_tiny_patch16_224"
METHODS: dict[str, dict[str, Any]] = {
    "evit_deit_tiny_patch16_224": {},
    "tome_deit_tiny_patch16_224": {"r": 4},
    "dynamicvit_deit_tiny_patch16_224": {},
    "avit_deit_tiny_patch16_224": {},
    "evo_deit_tiny_patch16_224": {},
    "mor_vit_tiny_patch16_224": {},
    "mor_vit_tiny_patch16_224/expert": {"routing": "expert"},
    "edge_recvit_tiny_patch16_224": {},
    "tpc_deit_tiny_patch16_224": {"keep_rate": 0.7},
}
CUT = {"embed_dim": 96, "depth": 6, "num_heads": 3}
CUT_METHODS: dict[str, dict[str, Any]] = {
    "evit_deit_tiny_patch16_224": {"locations": [1, 3]},
    "dynamicvit_deit_tiny_patch16_224": {"locations": [1, 2, 4]},
    "evo_deit_tiny_patch16_224": {"prune_from": 2},
    "mor_vit_tiny_patch16_224": {"recursion": 4},
    "mor_vit_tiny_patch16_224/expert": {"recursion": 4},
    "edge_recvit_tiny_patch16_224": {"recursion": 4},
}
IMAGES = 2048
COLUMNS = (
    "model", "mac_ratio", "training_mac_ratio", "step_ratio", "low", "high", "excess", "saved_ratio", "step_ms",
    "data_share", "memory_mb",
)  # fmt: skip


def images(folder: Path) -> Path:
    """Write noise images of 32 pixels in ten classes."""
    rng = np.random.default_rng(0)
    for split, count in (("train", IMAGES), ("val", 100)):
        for i in range(count):
            file = folder / split / f"{i % 10}" / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file)
    return folder


class Trainee:
    """A training that advances update by update."""

    def __init__(self, name: str, args: argparse.Namespace, root: str) -> None:
        options = {**METHODS.get(name, {}), "patch_size": 4}
        if not args.full:
            options |= {**CUT, **CUT_METHODS.get(name, {})}
        auto = "rand-m9-n2-mstd0.5-inc1" if args.full else ""
        config = Config(
            model={"name": name.partition("/")[0], **options},
            data=Data("folder", root=root, image_size=32, augment=Augment(4, True, auto=auto)),
            train=Train(epochs=10_000, batch_size=args.batch, compile=args.compile, clip_grad=1.0, deterministic=False),
        )
        self.config, context = config, NullContext(device=args.device)
        model, self.data = build(config, context)
        self.state = build_state(model, self.data, config, context, ProcessGroup(context), Clock())
        last = self.state.progress.epoch = config.train.epochs - 1  # where schedules have ended
        self.state.notify_schedules(last, self.data.steps, config.train.epochs, self.data.steps)
        self.state.model.train()
        self.forward = torch.compile(self.state.model) if args.compile else self.state.model
        self.augmentation = BatchAugmentation(config, self.data.classes, seed=0)
        self.batches = (batch for epoch in cycle(range(100)) for batch in self.data.train(epoch))

    def update(self, _: Tensor) -> None:
        update(self.state, self.forward, self.augmentation, *next(self.batches), self.data.steps, self.config)

    def draw(self, _: Tensor) -> None:
        next(self.batches)

    def macs(self) -> float:
        """G per image, at inference."""
        return float(complexity(self.state.model, self.data.sample(4)).gmacs)

    def training_cost(self) -> tuple[float, float]:
        """MACs and bytes saved for the backward pass, per image in training."""
        cost = profile_training(self.config.model, self.config.data.image_size, 3, self.data.classes)
        return cost["macs"], cost["saved"]


def compare(name: str, trunk: Trainee, args: argparse.Namespace, root: str) -> dict[str, Any]:
    if args.device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(args.device)
    before = torch.cuda.memory_allocated(args.device) if args.device.startswith("cuda") else 0
    trainee = trunk if name == TRUNK else Trainee(name, args, root)
    mark = torch.zeros(1, device=args.device)
    for one in (trainee, trunk):
        for _ in range(args.warmup):
            timed(one.update, mark)
    rows = [
        [timed(call, mark).cpu_or_wall for call in (trainee.update, trunk.update, trainee.draw)]
        for _ in range(args.rounds)
    ]
    low, middle, high = quartiles([ours / theirs for ours, theirs, _ in rows])
    step, draw = (sorted(times)[len(rows) // 2] for times in ([r[0] for r in rows], [r[2] for r in rows]))
    used = torch.cuda.max_memory_allocated(args.device) - before if args.device.startswith("cuda") else 0
    trained, saved = (a / b for a, b in zip(trainee.training_cost(), trunk.training_cost(), strict=True))
    ratios = (trainee.macs() / trunk.macs(), trained, middle, low, high, middle / trained, saved)
    values = (*ratios, 1e3 * step, draw / step, used / 2**20)
    return {"model": name, **{key: round(value, 3) for key, value in zip(COLUMNS[1:], values, strict=True)}}


def alone(args: argparse.Namespace) -> None:
    """Run updates of the backbone for some seconds, as one of several processes."""
    trunk = Trainee(TRUNK, args, args.root)
    for _ in range(args.warmup):
        trunk.update(torch.zeros(1))
    print("ready", flush=True)
    sys.stdin.readline()
    ends, done = time.monotonic() + args.seconds, 0
    while time.monotonic() < ends:
        timed(trunk.update, torch.zeros(1, device=args.device))
        done += 1
    print(done, flush=True)


def one_of_several(args: argparse.Namespace, root: str) -> list[str]:
    """The command of a process that updates the backbone as it is updated here."""
    options = [f"--{key}={getattr(args, key)}" for key in ("device", "batch", "warmup", "threads", "seconds")]
    return [
        sys.executable,
        __file__,
        f"--root={root}",
        *options,
        *["--full"] * args.full,
        *["--compile"] * args.compile,
    ]


def together(count: int, args: argparse.Namespace, root: str) -> float:
    """Return updates per second of `count` processes on one device."""
    command = one_of_several(args, root)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    running: list[Any] = [subprocess.Popen(command, **pipes) for _ in range(count)]  # type: ignore[call-overload]
    for process in running:
        assert process.stdout.readline() == "ready\n"
    for process in running:
        process.stdin.write("go\n")
        process.stdin.flush()
    return sum(int(process.communicate()[0]) for process in running) / float(args.seconds)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help=f"default: {', '.join(METHODS)}")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="on the CPU (1)")
    parser.add_argument("--full", action="store_true", help="the study's gpu size")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--at-once", default="1,2", help="numbers of processes; empty: none")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each number of processes")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--root", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    if args.root:
        return alone(args)
    with tempfile.TemporaryDirectory() as place:
        root = str(images(Path(place)))
        trunk = Trainee(TRUNK, args, root)
        print(f"torch {torch.__version__}, {args.device}, batch {args.batch}, {'full' if args.full else 'cut'} size")
        print(
            f"{'model':34} {'MACs':>7} {'trained':>7} {'step':>7} {'quartiles':>15} {'excess':>7} {'saved':>7} "
            f"{'ms':>8} {'data':>6} {'MB':>7}"
        )
        rows = []
        for name in [TRUNK, *(args.models or METHODS)]:
            rows.append(row := compare(name, trunk, args, root))
            print(
                f"{name:34} {row['mac_ratio']:7.3f} {row['training_mac_ratio']:7.3f} {row['step_ratio']:7.3f} "
                f"{row['low']:7.3f} {row['high']:7.3f} {row['excess']:7.3f} {row['saved_ratio']:7.3f} "
                f"{row['step_ms']:8.1f} {row['data_share']:6.1%} {row['memory_mb']:7.0f}",
                flush=True,
            )
        write_rows(args.csv, COLUMNS, rows)
        del trunk
        base = 0.0
        for count in [int(n) for n in args.at_once.split(",") if n]:
            rate = together(count, args, root)
            base = base or rate / count
            print(f"{count} at once: {rate:8.2f} updates/s, {rate / base:.2f} times those of one", flush=True)


if __name__ == "__main__":
    main()
