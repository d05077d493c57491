"""A hundred toy trials on a Ray cluster while workers, drivers and nodes are killed at random; then one clean run.

DYNVIT_CHAOS_SECONDS sets how long (CI takes the short form), DYNVIT_CHAOS_SEED what is killed when.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest
from farm import need
from raycluster import Play, Standing, comparable, standing, until

from studies.engine.core.processes import is_alive

SECONDS = float(os.environ.get("DYNVIT_CHAOS_SECONDS", "25"))
SEEDS = 17
"""Of six settings: 102 trials."""
STEPS = 8


class Chaos:
    def __init__(self, play: Play, cluster: Standing, chance: random.Random) -> None:
        self.play, self.cluster, self.chance = play, cluster, chance
        self.on = ("--on", "ray", "--address", cluster.address)
        self.kills: Counter[str] = Counter()
        self.missing = 0

    def rage(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until or min(self.kills[who] for who in ("worker", "driver", "node")) < 1:
            self.play.start(*self.on)
            assert time.monotonic() < until + 60, self.kills
            time.sleep(self.chance.uniform(0.2, 2.0))
            who = self.chance.choices(("worker", "driver", "node"), (6, 2, 2))[0]
            if getattr(self, who)():
                self.kills[who] += 1

    def worker(self) -> bool:
        return self.play.kill_worker(self.chance)

    def driver(self) -> bool:
        driver = self.play.driver
        if driver is None or driver.poll() is not None or not self.play.workers():
            return False
        driver.kill()
        driver.wait()
        return True

    def node(self) -> bool:
        """One of the two, which is missing for a while."""
        if len(self.cluster.nodes) < 2:
            self.cluster.nodes.append(self.cluster.add())
            return False
        if not self.play.workers():
            return False
        self.cluster.lose(self.chance.randrange(2))
        return True


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 400)
def test_chaos(tmp_path: Path) -> None:
    need("a Ray cluster", packages=("ray",))
    seed = int(os.environ.get("DYNVIT_CHAOS_SEED") or random.randrange(10**6))
    pause = max(0.05, SECONDS / 500)
    calm = Play(tmp_path / "calm", SEEDS, STEPS)
    calm.start("--on", "inline")
    with standing() as cluster:
        play = Play(tmp_path / "chaos", SEEDS, STEPS, pause, retries=100)
        chaos = Chaos(play, cluster, random.Random(seed))
        chaos.rage(SECONDS)
        before = play.done()
        while len(cluster.nodes) < 2:
            cluster.nodes.append(cluster.add())
        driver = play.start(*chaos.on)  # the one that may still be there ends, or this is the clean one
        driver.wait(300)
        code = play.start(*chaos.on).wait(300)
        history = (seed, chaos.kills, play.said)
        assert code == 0, history
        until("the workers to end", lambda: not any(map(is_alive, play.workers())), 120)
    print(f"chaos: seed {seed}, {SECONDS:g} s, {dict(chaos.kills)}, {before} of {6 * SEEDS} done before the clean run")
    assert calm.driver is not None
    assert calm.driver.wait(240) == 0, calm.said
    frame = comparable(play.frame(), "attempts")
    assert len(frame) == 6 * SEEDS
    assert frame == comparable(calm.frame(), "attempts"), history
    completed = play.completed.read_text()
    assert "OVERLAP" not in completed, history
    for trial in play.store.trials.iterdir():  # none was run twice: no attempt after one that ended with a result
        logs = [file.read_text() for file in sorted((trial / "attempts").glob("*/log.txt"))]
        assert sum("done after" in log for log in logs) <= 1, history
        steps = [event.step for event in play.store.trial(trial.name).events()]
        assert steps == list(range(1, STEPS + 1)), history
