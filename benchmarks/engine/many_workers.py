"""Many trials at a time on a Ray cluster of several nodes on one machine: what the driver costs, does each end once?

    python benchmarks/engine/many_workers.py [--workers 200] [--nodes 4] [--trials 600] [--minutes 10] [--kills 20]

Trials are toys that sleep, each with processes of its own as every trial on Ray has: 200 need 20 GB of memory. Some
workers are killed in the midst.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "cluster")]
STEPS = 12
ARMS = 6
"""Arms of the study that is run."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=200)
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--trials", type=int, default=600)
    parser.add_argument("--minutes", type=float, default=10.0, help="in which the workers could do all of them")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        measure(Path(place), wanted)


def measure(place: Path, wanted: argparse.Namespace) -> None:
    import raycluster

    os.environ.update(raycluster.SETTINGS)
    raycluster.QUICK.clear()  # as a user's: a sign of life in every few seconds
    each = wanted.minutes * 60 * wanted.workers / wanted.trials
    play = raycluster.Play(place, seeds=wanted.trials // ARMS, steps=STEPS, seconds=each / STEPS, retries=5)
    cluster = raycluster.Standing(wanted.nodes, num_cpus=wanted.workers // wanted.nodes)
    start, chance, kills, at_once = time.monotonic(), random.Random(wanted.seed), 0, list[int]()
    try:
        driver = play.start("--on", "ray", "--address", cluster.address)
        while driver.poll() is None:
            time.sleep(5)
            at_once.append(len(play.workers()))
            due = wanted.kills * (time.monotonic() - start) / (60 * wanted.minutes)
            kills += kills < min(due, wanted.kills) and play.kill_worker(chance)
        seconds, used = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    finally:
        cluster.stop()
    if driver.returncode:
        print(play.said)
    noted = [line.split()[0] for line in play.completed.read_text().splitlines()]
    ended = [word for word in noted if word != "OVERLAP"]
    expected = wanted.trials // ARMS * ARMS
    statuses = [row["status"] for row in play.frame()]
    print(f"seconds                    {seconds:.0f}, of which the trials sleep {each * expected / wanted.workers:.0f}")
    print(f"workers at a time          {median(at_once):.0f} in the median, {max(at_once)} at most")
    print(f"CPU seconds of the driver  {used.ru_utime + used.ru_stime:.1f}, peak {used.ru_maxrss / 1024:.0f} MiB")
    print(f"workers killed             {kills}")
    print(f"trials done                {statuses.count('done')} of {expected}")
    print(f"completed twice            {len(ended) - len(set(ended))}")
    print(f"two at once on one trial   {noted.count('OVERLAP')}")


if __name__ == "__main__":
    main()
