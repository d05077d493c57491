"""`classify` on two processes (gloo): the curve of one, a killed rank, and what the next attempt makes of it."""

from __future__ import annotations

from typing import Any

import pytest
import toy
from curves import DEIT, EVIT, apart, curve, log, trial

from studies.engine.storage.results_dir import Store

STRONG = {"accumulate": 2, "ema": 0.9, "clip_grad": 0.01, "clip_mode": "adaptive", "layer_decay": 0.8}
TRANSFER = {
    "model": DEIT,
    "train": {**STRONG, "drop_path": 0.3, "mix": {"mixup": 0.8, "cutmix": 1.0}},
    "source": {"epochs": 1, "data": {"labels": (4, 3, 2, 1, 0)}},
}
"""Of six updates an epoch: a seventh look at `should_stop` ends it, so that the ninth is within the second training."""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, dict[str, Any], list[str]]:
    said: list[str] = []
    store = Store(tmp_path_factory.mktemp("together"))
    trials = [
        trial("one", {"model": EVIT, "train": STRONG}),
        trial("two", {"model": EVIT, "train": STRONG}, processes=2),
        trial("transferred", TRANSFER, processes=2),
        trial("transferred again", {**TRANSFER, "kill_rank": 1, "kill_at": (5, 8)}, processes=2, retries=2),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("studies.engine.core.processes.available_cores", lambda: 2)
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("DYNVIT_CHECKPOINT_MINUTES", "0")
        outcome = toy.drive(store, trials, "local", say=said.append)
    return store, outcome.states, said


def test_the_curve_is_that_of_one_process(ran: tuple[Store, dict[str, Any], list[str]]) -> None:
    """Also in parts of a batch, with averaged weights, clipped gradients and rates by depth."""
    store, states, said = ran
    assert (states["one"].status, states["two"].status) == ("done", "done"), said
    assert "batch of 32 torch.float64" in log(store, "one")
    assert "batch of 16 torch.float64" in log(store, "two")
    assert apart(curve(store, "one"), curve(store, "two")) < 1e-6
    one, two = (store.trial(name).result() for name in ("one", "two"))
    assert one and two
    assert one["metrics"]["best"] == pytest.approx(two["metrics"]["best"], abs=1e-6)
    assert one["metrics"]["gflops"] == two["metrics"]["gflops"]


def test_rank_0_alone_writes(ran: tuple[Store, dict[str, Any], list[str]]) -> None:
    store = ran[0]
    files = {name: sorted(file.name for file in store.trial(name).path.iterdir()) for name in ("one", "two")}
    assert files["one"] == files["two"]
    assert [event.step for event in store.trial("two").events()] == [1, 2]


def test_a_killed_rank_ends_the_attempt_and_the_next_resumes(ran: tuple[Store, dict[str, Any], list[str]]) -> None:
    """In the first of two trainings, and in the second, which the second attempt has come to. Also with chance in the
    model and in the images: every process takes up its own random numbers, and mixes within its share by draws that
    need no state, so nothing is different at all."""
    store, states, said = ran
    assert (states["transferred again"].status, states["transferred again"].attempt) == ("done", 3), said
    lost = [line for line in said if "transferred again s0" in line and "lost: process 1 (" in line]
    assert len(lost) == 2 and all(line.endswith(") ended without reporting a status") for line in lost), said
    assert "source: resumed in epoch 1 after" in log(store, "transferred again", 1)
    assert "] resumed in epoch 1 after" in log(store, "transferred again", 2)
    assert curve(store, "transferred") == curve(store, "transferred again")
    assert [step for step, _ in curve(store, "transferred")] == [1, 2, 3]
