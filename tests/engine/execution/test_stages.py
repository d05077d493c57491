"""The driver waits with a trial until those that it starts from are done, and says why where they never are."""

from __future__ import annotations

from pathlib import Path

import pytest
import toy

from studies.engine.core.stop import StopRequest
from studies.engine.core.trial import Resources, Trial
from studies.engine.runtime.worker import run_attempt
from studies.engine.storage import kept_weights
from studies.engine.storage.results_dir import Store

ON = pytest.mark.parametrize("on", ["inline", "local"])
ONCE = Resources(retries=0)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here, and in the workers' processes."""
    monkeypatch.setenv("DYNVIT_HEARTBEAT", "0.2")
    monkeypatch.setenv("DYNVIT_CHECKPOINT_MINUTES", "0")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def chain(**first: object) -> list[Trial]:
    """a, b that starts from a, c from b, in the wrong order."""
    return [toy.trial("c", starts="b"), toy.trial("b", starts="a"), toy.trial("a", **first)]


@ON
def test_each_starts_where_the_one_before_has_ended(store: Store, on: str) -> None:
    outcome = toy.drive(store, chain(), on)
    assert {name: state.status for name, state in outcome.states.items()} == dict.fromkeys("abc", "done")
    assert outcome.states["a"].ended <= outcome.states["b"].started <= outcome.states["b"].ended
    assert outcome.states["b"].ended <= outcome.states["c"].started
    results = {name: store.trial(name).result() or {} for name in "abc"}
    assert results["b"]["started_from"] == {"a": results["a"]["kept_weights"]}
    assert (
        results["c"]["metrics"]["distance"] < results["b"]["metrics"]["distance"] < results["a"]["metrics"]["distance"]
    )
    assert "started_from" not in results["a"]


@ON
def test_one_serves_many_and_is_trained_once(store: Store, on: str) -> None:
    trials = [toy.trial(f"b{i}", seed=i, starts="a") for i in range(4)] + [toy.trial("a")]
    outcome = toy.drive(store, trials, on)
    assert {(state.status, state.attempt) for state in outcome.states.values()} == {("done", 1)}
    assert toy.drive(store, trials, on).states["a"].attempt == 1


@ON
def test_a_failed_first_trial_is_the_reason_of_the_others_and_its_retry_releases_them(store: Store, on: str) -> None:
    trials = chain(fault="raise", attempts=1, resources=ONCE)
    outcome = toy.drive(store, trials, on)
    assert {name: (state.status, state.attempt) for name, state in outcome.states.items()} == {
        "a": ("failed", 1), "b": ("failed", 0), "c": ("failed", 0),
    }  # fmt: skip
    assert outcome.states["b"].reason == "starts from toy a s0, which failed: ValueError: raised as configured"
    assert outcome.states["c"].reason.startswith(
        "starts from toy b s0, which failed: starts from toy a s0, which failed"
    )
    outcome = toy.drive(store, trials, on)
    assert {name: (state.status, state.attempt) for name, state in outcome.states.items()} == {
        "a": ("done", 2), "b": ("done", 1), "c": ("done", 1),
    }  # fmt: skip


def test_a_first_trial_that_is_tried_again_holds_the_others_back(store: Store) -> None:
    outcome = toy.drive(store, chain(fault="kill", attempts=1), "local")
    assert {name: (state.status, state.attempt) for name, state in outcome.states.items()} == {
        "a": ("done", 2), "b": ("done", 1), "c": ("done", 1),
    }  # fmt: skip


def test_a_killed_worker_of_the_second_stage_does_not_repeat_the_first(store: Store) -> None:
    trials = [toy.trial("a"), toy.trial("b", starts="a", fault="kill", attempts=1)]
    outcome = toy.drive(store, trials, "local")
    assert {name: (state.status, state.attempt) for name, state in outcome.states.items()} == {
        "a": ("done", 1), "b": ("done", 2),
    }  # fmt: skip


def test_a_first_trial_without_weights_ends_the_wait(store: Store) -> None:
    """Nobody asked its worker to keep them: it was begun before this study."""
    toy.drive(store, [toy.trial("a")])
    outcome = toy.drive(store, [toy.trial("a"), toy.trial("b", starts="a")])
    assert (outcome.states["b"].status, outcome.states["b"].attempt) == ("failed", 0)
    assert outcome.states["b"].reason == "starts from toy a s0, which left no weights: the next run makes it again"


@pytest.mark.parametrize("fault", ["gone", "changed"])
def test_weights_that_are_gone_or_changed_are_named_and_not_tried_again(store: Store, fault: str) -> None:
    first, folder = toy.place(store, toy.trial("a"), toy.trial("b", starts="a"))
    assert run_attempt(first, StopRequest()) == "done"
    if fault == "gone":
        first.weights_files[0].unlink()
    else:
        first.weights_files[0].write_text("2.0")
    assert run_attempt(folder, StopRequest()) == "failed"
    assert folder.state().permanent
    said = {"gone": f"{first.path} holds no weights to start from", "changed": "last.safetensors was changed since"}
    assert said[fault] in folder.state().reason


def test_a_first_trial_that_runs_again_leaves_its_old_weights_with_its_old_attempt(store: Store) -> None:
    first, _ = toy.place(store, toy.trial("a"), toy.trial("b", starts="a"))
    assert run_attempt(first, StopRequest()) == "done"
    before = first.weights_files[0].read_bytes()
    first.archive_attempt()
    assert kept_weights.find(first) is None
    assert run_attempt(first, StopRequest()) == "done"
    assert (first.attempt_folder(0) / "last.safetensors").read_bytes() == first.weights_files[0].read_bytes() == before
