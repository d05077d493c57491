"""Task `redundancy`: classify's numbers, what is seen of the model, maps, and models that are given."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import timm
import torch
from small_task import Folder, config, numbers, register, undeclared

from dynvit.analysis.layer_pairs import SAME_LAYER
from dynvit.config.source import Source
from dynvit.context import NullContext, Stopped
from dynvit.tasks import classify, redundancy
from dynvit.tasks.redundancy import Look, Start

register()
WIDTH = {"embed_dim": 16, "depth": 3, "num_heads": 2, "patch_size": 2}
TPC = {"name": "tpc_deit_tiny_patch16_224", "keep_rate": 0.5, **WIDTH}
DEIT = {"name": "deit_tiny_patch16_224", **WIDTH}


class Keeping(Folder):
    """Keeps files too."""

    def save_artifact(self, name, data):
        (self.folder / name).write_bytes(data)


def options(model, start=None, look=None, **train):
    of_classify = dataclasses.replace(config(**{"epochs": 2, "lr": 2e-3, **train}), model=model)
    values = {f.name: getattr(of_classify, f.name) for f in dataclasses.fields(of_classify)}
    return redundancy.Config(**values, start=start or Start(), look=look or Look(images=80, maps=3))


@pytest.fixture(scope="module")
def observed(tmp_path_factory):
    context = Keeping(tmp_path_factory.mktemp("observed"))
    return redundancy.run(options(TPC), context), context


def test_it_trains_as_classify_does(observed):
    result, context = observed
    alone = NullContext()
    plain = classify.run(dataclasses.replace(config(epochs=2, lr=2e-3), model=TPC), alone)
    assert result["metrics"]["last"] == plain["metrics"]["last"]
    assert [step for step, _ in context.history] == [1, 2, 2]
    assert context.history[0][1]["val.top1"] == alone.history[0][1]["val.top1"]


@pytest.mark.parametrize("given", ["init", "start"])
def test_weights_that_were_not_in_the_file_are_said_where_nothing_is_trained(given, tmp_path):
    backbone = timm.create_model("deit_tiny_patch16_224", img_size=8, in_chans=1, num_classes=4, **WIDTH)
    torch.save(backbone.state_dict(), file := tmp_path / "backbone.pth")
    start = Start(weights=str(file), naming="trunk") if given == "start" else None
    begun = options(TPC, start, Look(images=8, maps=0), epochs=0, warmup_epochs=0)
    if given == "init":
        begun = dataclasses.replace(begun, init=str(file))
    redundancy.run(begun, context := Keeping(tmp_path))
    [text] = [
        text for text in context.logged if text.startswith("warning: train.epochs is 0: evaluated as initialised")
    ]
    assert "head.weight, head.bias" in text


def test_metrics_and_matrices(observed):
    result, context = observed
    assert undeclared(redundancy.METRICS, result, context) == set()
    names = ("rank_correlation", "returned", "survival", "returned_ever", "returned_by_chance")
    for name in (*names, *SAME_LAYER):
        assert f"{name}_attention" in result["metrics"]
    assert 0.8 < result["metrics"]["rank_correlation_same_layer_attention"] < 1  # the noise is small, and there
    assert 0 < result["metrics"]["returned_ever_attention"] < 1
    assert 0 <= result["metrics"]["restarted"] <= 1
    matrices = context.history[-1][1]
    pairs = ["layer00.layer01", "layer00.layer02", "layer01.layer02"]
    assert {k for k in matrices if ".attention." in k} == {f"{s}.attention.{p}" for s in names[:3] for p in pairs}
    assert "rank_correlation.own.layer01.layer02" in matrices
    assert "rank_correlation.own.layer00.layer01" not in matrices  # all tokens start with the same score
    mean = sum(matrices[f"returned.attention.{p}"] for p in pairs) / 3
    assert result["metrics"]["returned_attention"] == pytest.approx(mean)


def test_maps(observed):
    _, context = observed
    with np.load(context.folder / "maps.npz") as maps:
        assert maps["images"].shape == (3, 8, 8, 1)
        assert maps["images"].min() == 0 and maps["images"].max() == 255
        assert maps["active"].shape == (3, 3, 16) and maps["active"].dtype == bool
        assert maps["active"].mean((0, 2)).tolist() == [1, 0.5, 0.5]
        assert maps["grid"].tolist() == [4, 4]
        assert str(maps["kind"]) == "attention" and maps["scored"].tolist() == [0, 1, 2]
        assert maps["importance"].shape == (3, 3, 16) and maps["importance"].max() == 255
    assert sorted(p.name for p in context.folder.iterdir()) == ["maps.npz", "predictions.npz"]
    assert (context.folder / "maps.npz").stat().st_size < 4000


def test_resumed_trials_see_the_same(tmp_path, observed):
    """Stopped after the last epoch: what comes behind it is measured again, with equal numbers."""
    first = Keeping(tmp_path, stop_at=22)
    with pytest.raises(Stopped):
        redundancy.run(options(TPC), first)
    second = Keeping(tmp_path)
    result = redundancy.run(options(TPC), second)
    assert numbers(result)[0] == numbers(observed[0])[0]
    assert second.history == observed[1].history[-1:]
    assert (tmp_path / "maps.npz").read_bytes() == (observed[1].folder / "maps.npz").read_bytes()


def test_a_given_model_is_only_evaluated(tmp_path):
    trained = redundancy.run(dataclasses.replace(options(DEIT), keep_checkpoint=True), Folder(tmp_path))
    (tmp_path / "again").mkdir()
    context = Folder(tmp_path / "again")
    start = Start(weights=str(tmp_path / "last.safetensors"))
    result = redundancy.run(options(DEIT, start, epochs=0), context)
    assert [step for step, _ in context.history] == [0, 0] and "val.top1" in context.history[0][1]
    for name in ("rank_correlation_attention", "returned_attention", "mean_depth", "active_share", "gflops"):
        assert result["metrics"][name] == trained["metrics"][name]
    assert "restarted" not in result["metrics"]
    assert result["metrics"]["best"]["top1"] == trained["metrics"]["last"]["top1"]
    assert result["metrics"]["best"]["epoch"] == 0


def test_a_method_starts_from_its_trunk(tmp_path):
    torch.manual_seed(5)
    trunk = timm.create_model("deit_tiny_patch16_224", img_size=8, in_chans=1, num_classes=10, **WIDTH)
    torch.save(trunk.state_dict(), tmp_path / "trunk.pth")
    context = Folder(tmp_path)
    start = Start(weights=str(tmp_path / "trunk.pth"), naming="trunk")
    redundancy.run(options(TPC, start, epochs=0), context)
    assert "kept at initialisation: stabilizer" in context.logged[0]
    with pytest.raises(ValueError, match="missing: stabilizer"):
        redundancy.run(options(TPC, Start(start.weights), epochs=0), NullContext(folder=tmp_path))
    with pytest.raises(FileNotFoundError, match=r"start\.weights: no file nowhere"):
        redundancy.run(options(TPC, Start("nowhere.pth")), NullContext(folder=tmp_path))


def test_a_model_without_scores_is_measured_by_its_states(tmp_path):
    tiny = {"name": "sret_tiny", "base_dim": 4, "unique": [1, 1, 1], "stem_strides": [1, 1, 1]}
    context = Folder(tmp_path)
    result = redundancy.run(options(tiny, look=Look(images=16, maps=1), epochs=0), context)
    assert any("norm is measured" in text for text in context.logged)
    assert "rank_correlation_norm" in result["metrics"]


@pytest.mark.parametrize("wrong", [{"images": 0}, {"maps": -1}, {"map_pixels": 0}, {"share": 0.0}, {"share": 1.5}])
def test_looks_that_cannot_be(wrong):
    (key,) = wrong
    with pytest.raises(ValueError, match=rf"look\.{key} must be"):
        redundancy.Config(look=Look(**wrong))


def test_a_source_is_refused():
    """It would be left out, and the numbers be those of a model that never saw it."""
    with pytest.raises(ValueError, match=r"source\.epochs 2: the task redundancy trains on data alone"):
        redundancy.Config(source=Source(2))


def test_two_origins_of_the_weights_are_refused():
    with pytest.raises(ValueError, match=r"init timm and start\.weights b\.pth both name the weights to start with"):
        redundancy.Config(init="timm", start=Start("b.pth"))


def test_options_are_classifys_and_real():
    for key in redundancy.SMOKE:
        value = redundancy.Config()
        for name in key.split("."):
            value = getattr(value, name)
    own = {f.name for f in dataclasses.fields(redundancy.Config)}
    assert own == {f.name for f in dataclasses.fields(classify.Config)} | {"start", "look"}
    code = """
import sys
from studies.engine.catalog.tasks import defaults, load_task
task = load_task("redundancy")
assert defaults(task.config)["look"]["share"] == 0.3 and "epochs" in defaults(task.config)["train"]
assert "model" in {m.key for m in task.models} and not {"torch", "timm", "dynvit"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
