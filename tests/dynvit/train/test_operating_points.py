"""Which epochs compete for the best; schedules of models, update by update, also after a resume."""

import dataclasses
import functools
import math

import pytest
from safetensors import safe_open
from small_task import Folder, config, fitted, numbers, prepared

from dynvit.context import NullContext, Stopped
from dynvit.tasks.classify import run
from dynvit.train import loop
from dynvit.train.distributed import ProcessGroup
from dynvit.train.loop import fit

SMALL = {"patch_size": 2, "embed_dim": 16, "depth": 2, "num_heads": 2}
EVIT = {"name": "evit_deit_tiny_patch16_224", **SMALL, "locations": [0], "keep_rate": 0.5}
SCHEDULES = {
    "evit": {**EVIT, "shrink_start": 1, "shrink_epochs": 2},
    "mor_vit": {
        "name": "mor_vit_tiny_patch16_224", **SMALL, "depth": 4, "recursion": 2, "routing": "expert",
        "capacity_warmup": 25,
    },
    "evo_vit": {"name": "evo_deit_tiny_patch16_224", **SMALL, "prune_from": 1, "switch_epoch": 3},
    "dynamic_vit": {"name": "dynamicvit_deit_tiny_patch16_224", **SMALL, "locations": [1], "freeze_epochs": 3},
}  # fmt: skip
"""Each is at its final operating point from the fourth of five epochs on, MoR-ViT from the third."""


def scheduled(model, **train):
    return dataclasses.replace(config(epochs=5, lr=3e-3, **train), model=model)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_best_epoch_is_one_at_the_final_operating_point(name, monkeypatch, tmp_path):
    """Dense epochs are made to look perfect: they must not count."""
    evaluate = loop.evaluate

    def flattered(model, *rest):
        found = evaluate(model, *rest)
        return found if model.at_final_operating_point else dataclasses.replace(found, top1=100.0)

    monkeypatch.setattr(loop, "evaluate", flattered)
    metrics = run(scheduled(SCHEDULES[name]), context := Folder(tmp_path))["metrics"]
    curve = [values["val.top1"] for _, values in context.history]
    assert curve[0] == curve[1] == 100 and metrics["best"]["epoch"] >= 3
    assert metrics["best"]["top1"] == max(value for value in curve if value < 100)


def test_the_saved_best_weights_give_the_printed_accuracy(tmp_path):
    options = dataclasses.replace(scheduled(SCHEDULES["evit"]), keep_checkpoint=True)
    metrics = run(options, Folder(tmp_path))["metrics"]
    with safe_open(tmp_path / "best.safetensors", "pt") as file:
        assert float(file.metadata()["epoch"]) == metrics["best"]["epoch"] >= 4


def test_a_schedule_longer_than_the_training_is_said(tmp_path):
    context = Folder(tmp_path)
    metrics = run(scheduled({**EVIT, "shrink_start": 1, "shrink_epochs": 20}), context)["metrics"]
    assert metrics["best"] == metrics["last"]
    assert any("schedule is longer than the training" in line for line in context.logged)


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_the_keep_rate_falls_with_every_update(average):
    """As the official code: between the epochs 1 and 3 along half a cosine over the updates."""
    seen = []
    options = scheduled(SCHEDULES["evit"], ema=average)
    state, data = prepared(options, NullContext())
    state.model.register_forward_pre_hook(lambda model, _: seen.append(model.keep_rates[0]) if model.training else None)
    fit(state, data, options, context := NullContext(), ProcessGroup(context))
    assert data.steps == 10 and len(seen) == 50
    expected = [1.0] * 10 + [0.5 + 0.25 * (math.cos(math.pi * k / 20) + 1) for k in range(20)] + [0.5] * 20
    assert seen == pytest.approx(expected, abs=1e-12)
    assert all(model.keep_rates == {0: 0.5} for model in state.models())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The numbers of a schedule that nothing stops, trained once for all places to stop at."""

    @functools.cache
    def train(name):
        alone = Folder(tmp_path_factory.mktemp(name) / "none")
        return numbers(run(scheduled(SCHEDULES[name], ema=0.9), alone), alone)

    return train


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("stop_at", [14, 20, 31])
def test_a_schedule_is_resumed_to_the_last_bit(name, stop_at, tmp_path, undisturbed):
    options, expected = scheduled(SCHEDULES[name], ema=0.9), undisturbed(name)
    first = Folder(tmp_path, stop_at=stop_at)
    with pytest.raises(Stopped):
        run(options, first)
    second = Folder(tmp_path)
    assert numbers(run(options, second), first, second) == expected


def test_a_finished_schedule_is_finished_after_a_resume(tmp_path):
    """Nothing is left to train: the loaded model still measures what the trained one did."""
    options = scheduled({**EVIT, "shrink_start": 1, "shrink_epochs": 20})
    state = fitted(options, Folder(tmp_path, save_at=[55]))
    again = fitted(options, Folder(tmp_path))
    assert again.model.keep_rates == state.model.keep_rates
