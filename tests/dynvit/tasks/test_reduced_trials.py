"""Trials of a model with a token reducer: trained, evaluated, costed; its weights are those of the model without."""

import dataclasses

import pytest
import timm
import torch
from small_task import Folder, config, register

import dynvit
from dynvit.config import cost
from dynvit.context import NullContext
from dynvit.profiling.benchmark import Benchmark
from dynvit.tasks.classify import Train, run

register()
SMALL = {"patch_size": 2, "embed_dim": 16, "depth": 4, "num_heads": 2}
DEIT = {"name": "deit_tiny_patch16_224", **SMALL}
TOPK = {"name": "topk", "keep": 0.5, "locations": [1, 2]}


def small(**changes):
    return dataclasses.replace(config(epochs=1), model=DEIT, **changes)


def model():
    return timm.create_model(DEIT["name"], img_size=8, in_chans=1, num_classes=10, **SMALL)


def test_a_backbone_is_evaluated_with_fewer_tokens(tmp_path):
    whole = run(small(keep_checkpoint=True), Folder(tmp_path))["metrics"]
    alone = small(init=str(tmp_path / "last.safetensors"), train=Train(epochs=0), reducer=TOPK)
    metrics = run(alone, NullContext())["metrics"]
    reduced = dynvit.reduce(model(), "topk", keep=0.5, locations=(1, 2))
    assert metrics["gflops"] == dynvit.complexity(reduced, torch.zeros(1, 1, 8, 8)).gmacs < whole["gflops"]
    assert metrics["trunk_gflops"] == pytest.approx(whole["gflops"])
    assert metrics["mac_ratio"] == pytest.approx(whole["gflops"] / metrics["gflops"])
    assert 0 < metrics["speedup_low"] <= metrics["speedup"] <= metrics["speedup_high"]
    assert metrics["share"] == pytest.approx(metrics["speedup"] / metrics["mac_ratio"])
    assert metrics["mean_depth"] < whole["mean_depth"] == 4 and "speedup" not in whole
    kept = dataclasses.replace(alone, reducer={**TOPK, "keep": 1.0})
    assert run(kept, NullContext())["metrics"]["last"] == {**whole["last"], "epoch": 0.0}


def test_it_is_trained_with_fewer_tokens_from_the_same_initial_weights(tmp_path):
    seen = []
    for reducer in ({"name": ""}, TOPK, {**TOPK, "keep": 1.0}):
        folder = tmp_path / str(len(seen))
        folder.mkdir()
        metrics = run(small(reducer=reducer, keep_checkpoint=True), Folder(folder))["metrics"]
        weights = torch.load(folder / "last.pt", weights_only=True)["model"]
        seen.append((metrics["last"]["loss"], weights))
    assert seen[2][0] == seen[0][0] != seen[1][0]
    model().load_state_dict(seen[1][1])


@pytest.mark.parametrize(
    ("reducer", "error", "message"),
    [
        ({"name": "topq"}, ValueError, "did you mean 'topk'"),
        ({"name": "topk", "kep": 0.5}, TypeError, "topk has no option 'kep'.*did you mean 'keep'"),
        ({"name": "topk", "keep": 3.0}, ValueError, "keep must be a share"),
    ],
)
def test_a_wrong_reducer_ends_the_trial_for_good(reducer, error, message):
    with pytest.raises(error, match=message) as raised:
        run(small(reducer=reducer), NullContext())
    assert raised.value.permanent


def test_cost_is_measured_against_the_same_model_with_all_tokens():
    timing = cost.Timing(enabled=True, batch_sizes=(2,), rounds=3, warmup=1)
    options = cost.Config(DEIT, image_size=8, in_chans=1, num_classes=10, reducer=TOPK, timing=timing)
    result = Benchmark(options, NullContext()).run()
    whole = Benchmark(dataclasses.replace(options, reducer={"name": ""}), NullContext()).run()
    found = result["metrics"]
    assert found["trunk_gflops"] == whole["metrics"]["gflops"] > found["gflops"]
    assert found["mac_ratio"] == found["trunk_gflops"] / found["gflops"] and found["speedup_b2"] > 0
    assert (result["about"]["reducer"], result["about"]["trunk"]) == ("topk", DEIT["name"])
