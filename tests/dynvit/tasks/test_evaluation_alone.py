"""`train.epochs: 0`: the given weights are evaluated and measured as trained ones are."""

import dataclasses

import dynvit_families
import numpy as np
import pytest
import timm
import torch
from small_task import Folder, config, prepared, register, replaced

import dynvit
from dynvit.context import NullContext
from dynvit.tasks.classify import Augment, Config, Teacher, Train, cautions, run, smoke, work

register()


class Keeping(Folder):
    def save_artifact(self, name, data):
        (self.folder / name).write_bytes(data)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    context = Keeping(tmp_path_factory.mktemp("trained"))
    return run(dataclasses.replace(config(), keep_checkpoint=True), context)["metrics"], context


def test_the_weights_of_a_trial_give_what_they_gave_there(trained, tmp_path):
    then, first = trained
    options = dataclasses.replace(config(), init=str(first.folder / "last.safetensors"), train=Train(epochs=0))
    now = run(options, context := Keeping(tmp_path))["metrics"]
    assert now["last"] == now["best"] == {**then["last"], "epoch": 0.0}
    same = then.keys() - {"images_per_second", "best", "last", "fluctuation"}
    assert {key: now[key] for key in same} == {key: then[key] for key in same} and now["images_per_second"] > 0
    assert (tmp_path / "predictions.npz").read_bytes() == (first.folder / "predictions.npz").read_bytes()
    curve = {k: v for k, v in first.history[-1][1].items() if k.startswith(("val.", "active."))}
    [(step, logged)] = context.history
    assert step == 0 and {k: v for k, v in logged.items() if k != "images_per_second"} == curve


def test_weights_that_were_not_in_the_file_are_said(trained, tmp_path):
    _, first = trained
    options = replaced(config(), "train", epochs=0)
    options = dataclasses.replace(options, init=str(first.folder / "last.safetensors"))
    run(replaced(options, "data", labels=(0, 1, 2)), context := Keeping(tmp_path))
    assert "warning: train.epochs is 0: evaluated as initialised: head.weight, head.bias" in context.logged


@pytest.mark.parametrize("family", dynvit_families.FAMILIES)
def test_every_model_is_evaluated(family, tmp_path):
    name, options = dynvit_families.FAMILIES[family]
    torch.manual_seed(0)
    size = {"img_size": 32, "in_chans": 1, "num_classes": 10}
    model = dynvit_families.randomize(timm.create_model(name, **size, **options)).eval()
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    plain = replaced(config(data={"image_size": 32, "val_limit": 40}), "train", epochs=0)
    plain = dataclasses.replace(plain, model={"name": name, **options}, init=str(tmp_path / "weights.pth"))
    metrics = run(plain, Keeping(tmp_path))["metrics"]
    _, data = prepared(plain, NullContext())
    images, labels = map(torch.cat, zip(*data.validation(), strict=True))
    with torch.no_grad():
        expected = model(images).argmax(1)
    with np.load(tmp_path / "predictions.npz") as found:
        assert found["prediction"].tolist() == expected.tolist() and found["target"].tolist() == labels.tolist()
    assert metrics["last"]["top1"] == pytest.approx(100 * (expected == labels).float().mean().item())
    assert metrics["gflops"] == dynvit.complexity(model, images[: plain.evaluation.counted_images]).gmacs
    assert ("mean_depth" in metrics) == hasattr(model, "trace")


def test_what_has_no_effect_is_said_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.pth").touch()  # one that is not there is said too
    alone = Config(train=Train(epochs=0), init="weights.pth")
    assert list(cautions(alone)) == []  # the default's warm-up is no mistake
    plain = dataclasses.replace(alone, data=dataclasses.replace(alone.data, augment=Augment(flip=True, repeats=3)))
    [text] = cautions(replaced(plain, "train", lr=1.0, lr_batch=64, amp="off"))
    assert text == (
        "train.epochs is 0, nothing is trained: train.lr, train.lr_batch, data.augment.flip, data.augment.repeats "
        "have no effect"
    )
    assert cautions(dataclasses.replace(plain, init="")) == [
        "train.epochs is 0 and init is empty: random weights are evaluated"
    ]
    with pytest.raises(ValueError, match=r"^teacher\.model deit_tiny_patch16_224 has nothing to teach"):
        dataclasses.replace(alone, teacher=Teacher({"name": "deit_tiny_patch16_224"}))


def test_plan_and_smoke_count_what_is_measured():
    plain = dataclasses.asdict(replaced(config(), "train", epochs=0))
    plain["evaluation"] |= {"timed_batch_size": 8, "timed_batches": 20, "counted_images": 4}
    one = work(plain)
    assert (one["images"], one["steps"]) == (0, 0)
    assert one["seen"] == 100
    assert one["alone"] == 2 * 100 + 4 + 8 * 25  # two passes; MACs; 20 + 5 timed batches
    reduced = work(plain | {"reducer": {"name": "tome"}})
    assert reduced["alone"] == one["alone"] + 8 * 25
    plain["data"]["val_limit"] = 10**6
    assert work(plain)["seen"] == 360  # digits has no more
    assert smoke(plain) == {"train.epochs": 0} and smoke(dataclasses.asdict(config())) == {}
