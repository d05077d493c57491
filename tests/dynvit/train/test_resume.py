"""A trial that was stopped or killed and resumed gives the numbers of an undisturbed one, bit for bit."""

import random

import numpy as np
import pytest
import torch
from small_task import Folder, config, numbers, register, replaced

from dynvit.context import Stopped
from dynvit.rng import derive, own_stream, random_states, seed_globally, set_random_states, stream
from dynvit.tasks.classify import Evaluation, run

register()
PER_EPOCH = 11  # boundaries: ten updates and the end of the epoch


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    context = Folder(tmp_path_factory.mktemp("undisturbed"))
    return numbers(run(config(), context), context)


@pytest.mark.parametrize(
    "stop_at",
    [1, 5, 10, PER_EPOCH, PER_EPOCH + 1, 2 * PER_EPOCH - 1, 2 * PER_EPOCH, 3 * PER_EPOCH],
    ids=["first", "inside", "last-update", "epoch-end", "second-epoch", "before-evaluation", "second-end", "very-end"],
)
def test_stopped_and_resumed(tmp_path, undisturbed, stop_at):
    first = Folder(tmp_path, stop_at=stop_at)
    with pytest.raises(Stopped):
        run(config(), first)
    assert first.saved == 1
    torch.rand(7), random.random(), np.random.rand()  # another process has other states
    second = Folder(tmp_path)
    assert numbers(run(config(), second), first, second) == undisturbed
    assert second.logged == [f"resumed in epoch {stop_at // PER_EPOCH + 1} after {stop_at % PER_EPOCH} batches"]
    assert [step for step, _ in first.history + second.history] == [1, 2, 3]  # no epoch twice


def test_killed_and_resumed_from_an_older_checkpoint(tmp_path, undisturbed):
    first = Folder(tmp_path, save_at=(4, 9), crash_at=17)
    with pytest.raises(KeyboardInterrupt):
        run(config(), first)
    assert first.saved == 2
    second = Folder(tmp_path)
    assert numbers(run(config(), second), second) == undisturbed  # the first epoch again, with equal numbers


def test_stopped_many_times(tmp_path, undisturbed):
    contexts, result = [], None
    while result is None:
        contexts.append(Folder(tmp_path, stop_at=4))
        try:
            result = run(config(), contexts[-1])
        except Stopped:
            continue
    assert len(contexts) > 8
    assert numbers(result, *contexts) == undisturbed


def test_checkpoints_do_not_disturb(tmp_path, undisturbed):
    context = Folder(tmp_path, save_at=range(1, 100, 3))
    assert numbers(run(config(), context), context) == undisturbed
    assert context.saved == 11


def test_best_epoch_survives(tmp_path):
    """lr so large that the best epoch is not the last."""
    wild = config(lr=0.1, schedule="constant")
    alone = Folder(tmp_path)
    expected = numbers(run(wild, alone), alone)
    assert expected[0]["best"] != expected[0]["last"]
    first = Folder(tmp_path, stop_at=3 * PER_EPOCH)
    with pytest.raises(Stopped):
        run(wild, first)
    second = Folder(tmp_path)
    assert numbers(run(wild, second), first, second) == expected


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "lion"])
@pytest.mark.parametrize("schedule", ["linear", "constant"])
def test_every_kind_of_optimiser_and_schedule(tmp_path, optimizer, schedule):
    options = config(epochs=2, optimizer=optimizer, schedule=schedule, clip_grad=0.5, label_smoothing=0.1)
    alone = Folder(tmp_path / "none")
    expected = numbers(run(options, alone), alone)
    first = Folder(tmp_path, stop_at=6)
    with pytest.raises(Stopped):
        run(options, first)
    second = Folder(tmp_path)
    assert numbers(run(options, second), first, second) == expected


def test_vision_transformer_with_drop_path(tmp_path):
    options = replaced(config(epochs=2, drop_path=0.3), "evaluation", traced_images=0)
    options = type(options)(
        model={"name": "vit_tiny_patch16_224", "embed_dim": 12, "depth": 2, "num_heads": 2, "patch_size": 4},
        data=options.data, train=options.train, evaluation=Evaluation(timed_batches=1),
    )  # fmt: skip
    alone = Folder(tmp_path / "none")
    expected = numbers(run(options, alone), alone)
    first = Folder(tmp_path, stop_at=7)
    with pytest.raises(Stopped):
        run(options, first)
    second = Folder(tmp_path)
    assert numbers(run(options, second), first, second) == expected


@pytest.mark.parametrize("damage", [b"", b"PK", b"not a checkpoint at all"])
def test_damaged_checkpoint_starts_over(tmp_path, undisturbed, damage):
    (tmp_path / "last.pt").write_bytes(damage)
    context = Folder(tmp_path)
    assert numbers(run(config(), context), context) == undisturbed
    assert len(context.logged) == 1
    assert "damaged, starting over" in context.logged[0]


def test_checkpoint_cut_short_starts_over(tmp_path, undisturbed):
    with pytest.raises(Stopped):
        run(config(), Folder(tmp_path, stop_at=15))
    whole = (tmp_path / "last.pt").read_bytes()
    (tmp_path / "last.pt").write_bytes(whole[: len(whole) // 2])
    context = Folder(tmp_path)
    assert numbers(run(config(), context), context) == undisturbed


def test_checkpoint_holds_plain_data_only(tmp_path):
    with pytest.raises(Stopped):
        run(config(), Folder(tmp_path, stop_at=15))
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    assert set(state) == {"schema", "model", "optimizer", "scheduler", "random", "tally", "corrupt", "progress"}
    assert (state["progress"]["epoch"], state["progress"]["step"]) == (1, 4)
    assert state["progress"]["seconds"] > 0


# ---- random streams


def test_streams_are_named_by_purpose():
    assert derive(0, "order", 1) == derive(0, "order", 1)
    names = [("order",), ("order", 1), ("order", 2), ("augment", 1), ("init",), ("drop",)]
    assert len({derive(seed, *name) for seed in (0, 1) for name in names}) == 2 * len(names)
    assert derive(0, "init") == 1519069808562059438  # recorded: another rule would change every result
    assert torch.equal(torch.rand(3, generator=stream(1, "x")), torch.rand(3, generator=stream(1, "x")))


def test_random_states_come_back():
    seed_globally(5, "test")
    states = random_states("cpu")
    drawn = [torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random(), random.gauss(0, 1)]
    set_random_states(states, "cpu")
    assert drawn == [torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random(), random.gauss(0, 1)]


def test_own_stream_leaves_the_others_alone():
    seed_globally(5, "test")
    expected = [torch.rand(1).item(), np.random.rand(), random.random()]
    seed_globally(5, "test")
    with own_stream(5, "augment", 0):
        inside = [torch.rand(1).item(), np.random.rand(), random.random()]
    assert [torch.rand(1).item(), np.random.rand(), random.random()] == expected != inside
