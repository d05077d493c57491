"""Everything that only a GPU can answer, in one call of at most ten minutes, in order of value.

    python benchmarks/on_gpu.py --out results/gpu --minutes 9 --data cifar10.tar.gz
    python benchmarks/on_gpu.py --out /tmp/gpu --device cpu --rehearse          tiny sizes, about a minute

correctness  every method family on the device; compilers run beside it and fill the cache (gpu_correctness.py)
eager, graph, compiled  speed of the claims' models, in turn with their backbones (gpu_speed.py)
training     updates of training beside the backbone's (training_speed.py --full)
campaign     CIFAR-10 for the minutes that are left (campaign_cifar10.py)

Each step is a process with a time limit; what it leaves unused goes to the next. Files lie in OUT/<device>/:
results.jsonl gets every row at once, the CSV files and README.md are rewritten every few seconds, log.txt has the
output. A step that fails or is stopped is recorded with its error and the next begins. Needs torch and timm only.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from gpu_report import TRAINING, Row, read_rows, record, report, write_csv

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SEED = 0
PLAN = {"correctness": 125, "eager": 85, "graph": 35, "compiled": 105, "training": 65, "campaign": 125}
"""Seconds of each step in nine minutes; other lengths in proportion."""
REHEARSAL = dict.fromkeys(PLAN, 100)
FILES = ("results.jsonl", "correctness.csv", "speed.csv", "training.csv", "campaign.tar.gz", "README.md", "log.txt")
REFRESH = 4.0
ENDING = 8.0
"""Seconds kept for stopping a step and writing the tables."""
LOG_LIMIT = 300_000
TRAINING_ROW = re.compile(r"^(\S+_\S+)" + r"\s+([\d.]+)" * (len(TRAINING) - 3) + r"\s+([\d.]+)%\s+(\d+)$", re.M)


class Session:
    """The steps of one run and the folder of its files."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.started = args, time.monotonic()
        self.about = about(args)
        slug = re.sub(r"[^a-z0-9]+", "-", str(self.about["device"]).lower()).strip("-")
        self.folder = args.out.resolve() / slug
        self.folder.mkdir(parents=True, exist_ok=True)
        if there := [name for name in FILES if (self.folder / name).exists()]:
            sys.exit(f"{self.folder} holds {there[0]} of an earlier run: move it, or give another --out")
        self.rows, self.log = self.folder / "results.jsonl", self.folder / "log.txt"
        self.scratch = Path(tempfile.mkdtemp(prefix="on_gpu."))
        self.running: list[subprocess.Popen[bytes]] = []
        record(self.rows, {"kind": "about", **self.about})

    def run(self) -> None:
        budgets, end = (REHEARSAL if self.args.rehearse else PLAN), 0.0
        scale = 1.0 if self.args.rehearse else (60 * self.args.minutes - ENDING) / sum(budgets.values())
        try:
            for name, seconds in budgets.items():
                end += scale * seconds
                if name not in self.args.skip:
                    self.step(name, end - (time.monotonic() - self.started))
                self.write()
        finally:
            self.stop()
            self.write()
            if self.log.exists():  # not where every step was skipped
                self.log.write_text(self.log.read_text(errors="replace")[-LOG_LIMIT:])
            shutil.rmtree(self.scratch, ignore_errors=True)

    def step(self, name: str, seconds: float) -> None:
        """Run its commands together until all have ended, or the time is up."""
        row: Row = {"kind": "step", "step": name, "budget": round(seconds, 1)}
        commands = self.commands(name, seconds)
        if isinstance(commands, str):
            record(self.rows, row | {"status": f"skipped: {commands}"})
            return
        begun, offset = time.monotonic(), self.log.stat().st_size if self.log.exists() else 0
        environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
        environment |= {"PYTHONUNBUFFERED": "1", "TORCHINDUCTOR_CACHE_DIR": str(self.scratch / "compiled")}
        environment |= {"TORCHINDUCTOR_COMPILE_THREADS": "1"}
        print(f"{name}: {seconds:.0f} s", flush=True)
        with self.log.open("ab") as log:
            for command in commands:
                options: Row = {"stdout": log, "stderr": log, "cwd": ROOT, "env": environment}
                self.running.append(subprocess.Popen(command, start_new_session=True, **options))
        while any(p.poll() is None for p in self.running) and time.monotonic() - begun < seconds:
            time.sleep(0.2)
            if time.monotonic() - self.written > REFRESH:
                self.write()
        late, codes = [p.poll() is None for p in self.running], [p.poll() for p in self.running]
        self.stop()
        said = self.log.read_bytes()[offset:].decode(errors="replace")
        if name == "training":
            for found in TRAINING_ROW.findall(said):
                record(
                    self.rows,
                    {"kind": "training", **dict(zip(TRAINING, [found[0], *map(float, found[1:])], strict=True))},
                )
        if name == "campaign":
            self.pack()
            record(self.rows, {"kind": "campaign", "output": said.strip().splitlines()[-30:]})
        status = "stopped: out of time" if any(late) else "failed" if any(codes) else "done"
        row |= {"seconds": round(time.monotonic() - begun, 1), "status": status}
        record(self.rows, row | ({"error": said[-1500:]} if status == "failed" else {}))
        print(f"{name}: {status} after {row['seconds']:.0f} s", flush=True)

    def commands(self, name: str, seconds: float) -> list[list[str]] | str:
        """What a step runs, or why it runs nothing."""
        device, rehearse = self.args.device, ["--rehearse"] * self.args.rehearse
        common = ["--device", device, "--seconds", f"{seconds - 3:.0f}", "--rows", str(self.rows), *rehearse]
        if seconds < 10 and not self.args.rehearse:
            return "no time left"
        if name == "correctness":
            workers = 1 if self.args.rehearse or device == "cpu" else max(1, min(12, (os.cpu_count() or 2) - 3))
            (self.scratch / "claimed").mkdir(exist_ok=True)
            compiler = script("gpu_correctness.py", "compile", *common, "--claimed", str(self.scratch / "claimed"))
            return [script("gpu_correctness.py", "device", *common), *[compiler] * workers]
        if name == "graph" and device == "cpu":
            return "CUDA graphs need a GPU"
        if name in ("eager", "graph", "compiled"):
            return [script("gpu_speed.py", name, *common)]
        if name == "training":
            size = ["evit_deit_tiny_patch16_224", "--batch=8", "--rounds=2", "--warmup=1"]
            size = size if self.args.rehearse else ["--full", "--batch=128"]
            return [script("training_speed.py", *size, "--device", device, "--at-once=")]
        if self.args.data is None:
            return "no --data"
        minutes = f"{(seconds - 5) / 60:.2f}"
        told = ["--data", str(self.args.data.resolve()), "--minutes", minutes, "--seeds=0", "--at-once=7"]
        told += ["--results", str(self.scratch / "results"), "--pack", str(self.folder / "campaign.tar.gz")]
        return [script("campaign_cifar10.py", *told, "--device", "cuda:0" if device == "cuda" else device)]

    def stop(self) -> None:
        """End what still runs: asked first, so that trials can save."""
        for kind, patience in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 3.0)):
            for process in self.running:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, kind)
            ends = time.monotonic() + patience
            while any(p.poll() is None for p in self.running) and time.monotonic() < ends:
                time.sleep(0.1)
        self.running.clear()

    def pack(self) -> None:
        """Keep the trials without checkpoints where the campaign itself did not come to it."""
        target, results = self.folder / "campaign.tar.gz", self.scratch / "results"
        if not target.exists() and results.is_dir():
            with tarfile.open(target, "w:gz") as archive:
                for file in sorted(p for p in results.rglob("*") if p.is_file()):
                    part = file.relative_to(results)
                    if file.suffix not in (".safetensors", ".pt") and part.parts[0] not in ("data", "probe"):
                        archive.add(file, part)

    written = 0.0

    def write(self) -> None:
        """The tables of what is there so far."""
        self.written = time.monotonic()
        rows = read_rows(self.rows)
        for kind in ("correctness", "speed", "training"):
            chosen = [row for row in rows if row["kind"] == kind]
            if chosen:
                write_csv(self.folder / f"{kind}.csv", chosen, self.about)
        (self.folder / "README.md").write_text("\n".join(report(self.about, rows)) + "\n")


def script(name: str, *options: str) -> list[str]:
    return [sys.executable, str(HERE / name), *options]


def about(args: argparse.Namespace) -> Row:
    """Where and with what: written into every file."""
    device, driver = platform.processor() or platform.machine(), ""
    if args.device.startswith("cuda"):
        query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        device, driver = first_line(query).rsplit(", ", 1)
    commit = args.commit or first_line(["git", "-C", str(ROOT), "rev-parse", "HEAD"])
    versions = {name: metadata.version(name) for name in ("torch", "timm")}
    return {
        "device": device, "driver": driver, **versions, "python": platform.python_version(), "cpus": os.cpu_count(),
        "commit": commit, "date": datetime.now(UTC).isoformat(timespec="seconds"), "seed": SEED,
        "rehearsal": args.rehearse,
    }  # fmt: skip


def first_line(command: Sequence[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0].strip()
    except (OSError, subprocess.CalledProcessError, IndexError):
        return "unknown, unknown"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=9, help="for everything (9)")
    parser.add_argument("--data", type=Path, help="cifar10.tar.gz or the folder with cifar10/; without it no campaign")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--commit", help="where the checkout has no .git")
    parser.add_argument("--skip", nargs="*", default=[], choices=tuple(PLAN))
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes")
    session = Session(parser.parse_args())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    session.run()
    print((session.folder / "README.md").read_text()[:9000])
    return 0


if __name__ == "__main__":
    sys.exit(main())
