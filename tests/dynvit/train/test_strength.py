"""Training with everything on: what each option does, and that a resumed trial still gives the same numbers."""

import dataclasses
import json
import os
import shutil

import pytest
import timm
import torch
from safetensors import safe_open
from small_task import MODEL, Folder, SmallDynamic, config, fitted, numbers, prepared, register, replaced

from dynvit.context import NullContext, Stopped
from dynvit.tasks.classify import Augment, Config, Data, Evaluation, Mix, Teacher, Train, cautions, missing, run
from dynvit.train import loop
from dynvit.train.distributed import ProcessGroup
from dynvit.train.ema import ModelEma, unique_tensors
from dynvit.train.optimizer import build_optimizer

register()
PLAIN = {"name": "vit_tiny_patch16_224", "patch_size": 4, "embed_dim": 12, "depth": 2, "num_heads": 2}
EVERYTHING = {
    "mix": Mix(mixup=0.8, cutmix=1.0, off_epoch=2),
    "label_smoothing": 0.1,
    "ema": 0.9,
    "accumulate": 2,
    "clip_grad": 0.01,
    "clip_mode": "adaptive",
    "channels_last": True,
    "drop_path": 0.2,
}
AUGMENT = Augment(shift=1, flip=True, erasing=0.5, repeats=2)


def strong(model=None, **train):
    options = config(model, {"augment": AUGMENT}, **{**EVERYTHING, **train})
    return replaced(options, "evaluation", weights="ema")


def resumed(options, tmp_path, stop_at):
    """Numbers of an undisturbed run, and of one that was stopped."""
    alone = Folder(tmp_path / "none")
    expected = numbers(run(options, alone), alone)
    first = Folder(tmp_path, stop_at=stop_at)
    with pytest.raises(Stopped):
        run(options, first)
    torch.rand(3)
    second = Folder(tmp_path)
    return expected, numbers(run(options, second), first, second)


@pytest.mark.parametrize("stop_at", [1, 7, 11, 25, 33], ids=["first", "inside", "epoch-end", "unmixed", "very-end"])
def test_stopped_and_resumed_with_everything(tmp_path, stop_at):
    expected, found = resumed(strong(), tmp_path, stop_at)
    assert found == expected


def test_stopped_and_resumed_in_float16(tmp_path):
    """The loss scale is part of the checkpoint: two skipped updates have halved it twice."""
    options = strong(amp="float16", epochs=2)
    expected, found = resumed(options, tmp_path, 6)
    assert found == expected
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    assert state["scaler"]["_growth_tracker"] == 6
    assert state["average"].keys() == state["model"].keys()


@pytest.mark.parametrize("stop_at", [8, 22], ids=["layers", "very-end"])
def test_stopped_and_resumed_around_a_switch(tmp_path, stop_at):
    """Evo-ViT ranks layer by layer, then by stage: the last epoch counts, also when stopped at its end."""
    options = replaced(config(epochs=2, ema=0.9, lr=1e-3), "evaluation", weights="ema", traced_images=64)
    width = {"patch_size": 2, "embed_dim": 12, "depth": 6, "num_heads": 2, "prune_from": 2, "keep_ratio": 0.5}
    model = {"name": "evo_deit_tiny_patch16_224", "switch_epoch": 1, **width}
    expected, found = resumed(dataclasses.replace(options, model=model), tmp_path, stop_at)
    assert found == expected


def test_a_model_at_its_end_gets_its_epoch(tmp_path):
    model = {"name": "evit_deit_tiny_patch16_224", "patch_size": 2, "embed_dim": 12, "depth": 4, "num_heads": 2,
             "locations": [1, 2], "shrink_start": 0, "shrink_epochs": 2}  # fmt: skip
    options = dataclasses.replace(config(epochs=2, lr=1e-3), model=model)
    expected, found = resumed(options, tmp_path, 22)
    assert found == expected
    assert found[0]["gflops"] == expected[0]["gflops"] < 4e-4


# ---- single options


def test_accumulation_is_the_whole_batch(tmp_path):
    """A model without chance or batch statistics: the same updates in four parts, up to rounding."""
    one, four = NullContext(), NullContext()
    for context, parts in ((one, 1), (four, 4)):
        run(dataclasses.replace(config(epochs=2, accumulate=parts, lr=1e-3), model=PLAIN), context)
    for (_, a), (_, b) in zip(one.history, four.history, strict=True):
        assert a["train.loss"] == pytest.approx(b["train.loss"], rel=1e-4)
        assert a["val.loss"] == pytest.approx(b["val.loss"], rel=1e-3)
        assert a["train.top1"] == pytest.approx(b["train.top1"], abs=1)


def test_the_average_lags_behind_and_can_be_measured(tmp_path):
    trained, averaged = Folder(tmp_path / "a"), Folder(tmp_path / "b")
    for folder, weights in ((trained, "trained"), (averaged, "ema")):
        folder.folder.mkdir()
        options = replaced(config(epochs=1, ema=0.95), "evaluation", weights=weights)
        run(dataclasses.replace(options, keep_checkpoint=True), folder)
    state = torch.load(tmp_path / "b/last.pt", weights_only=True)
    same = [torch.equal(state["model"][name], state["average"][name]) for name in state["model"]]
    assert not all(same)
    assert state["average"]["steps"] == 10  # counters are copied
    assert trained.history[0][1]["train.loss"] == averaged.history[0][1]["train.loss"]
    assert trained.history[0][1]["val.loss"] != averaged.history[0][1]["val.loss"]
    for file in ("b/last.safetensors", "a/ema.safetensors"):
        kept = timm.create_model(MODEL, checkpoint_path=str(tmp_path / file)).state_dict()
        assert all(torch.equal(kept[name], state["average"][name]) for name in kept)


def test_shared_weights_are_averaged_once():
    model = timm.create_model("sret_tiny", img_size=16, base_dim=4, unique=[1, 2, 1], stem_strides=[1, 1, 2])
    model.twin = model.get_classifier()  # a second name
    average = ModelEma(model, 0.5)
    before = [tensor.clone() for tensor in unique_tensors(model)]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1
    average.update(model)
    moved = zip(before, unique_tensors(average.module), strict=True)
    assert all(torch.allclose(now, then + 0.5, atol=1e-6) for then, now in moved if then.is_floating_point()
               and then.requires_grad)  # fmt: skip


def test_best_is_of_the_best_epoch(tmp_path):
    options = dataclasses.replace(config(lr=0.1, schedule="constant"), keep_checkpoint=True)
    result = run(options, Folder(tmp_path))
    best = int(result["metrics"]["best"]["epoch"])
    assert best < 3
    with safe_open(tmp_path / "best.safetensors", "pt") as file:
        about = file.metadata()
    assert about["epoch"] == str(best)
    assert json.loads(about["config"])["train"]["lr"] == 0.1
    model = timm.create_model(MODEL, checkpoint_path=str(tmp_path / "best.safetensors"))
    assert model.steps == 10 * best


def test_layer_decay_that_would_do_nothing_is_refused():
    """timm says so in a log of its own and gives every layer the full rate."""
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 2))
    with pytest.raises(ValueError, match=r"train\.layer_decay has no effect on Sequential.* method group_matcher"):
        build_optimizer(model, Train(layer_decay=0.5))
    assert len(build_optimizer(model, Train(layer_decay=1.0)).param_groups) == 2


def test_layer_decay():
    model = timm.create_model("evo_deit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=12, num_heads=2)
    found = build_optimizer(model, Train(layer_decay=0.5))
    scale = {id(p): group["lr_scale"] for group in found.param_groups for p in group["params"]}
    assert scale[id(model.blocks[0].mlp.fc1.weight)] == scale[id(model.blocks[1].mlp.fc1.weight)] / 2
    assert scale[id(model.head.weight)] == 1
    own = timm.create_model("dynamicvit_deit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=12, num_heads=2)
    assert any("lr_scale" in group for group in build_optimizer(own, Train()).param_groups)
    with pytest.raises(ValueError, match="layer_decay: DynamicViT has learning rates of its own"):
        build_optimizer(own, Train(layer_decay=0.5))


def test_learning_rate_follows_the_batch():
    assert Train(lr=5e-4, lr_batch=512, lr_scaling="linear", batch_size=1024).peak_lr == 1e-3
    assert Train(lr=5e-4, lr_batch=512, batch_size=1024).peak_lr == 5e-4


def test_models_get_the_step(monkeypatch):
    steps = []
    monkeypatch.setattr(SmallDynamic, "set_step", lambda self, step: steps.append(step), raising=False)
    run(config(epochs=2, accumulate=2), NullContext())
    assert steps == [step for step in range(20) for _ in range(2)]


def test_compiled(tmp_path):
    if not any(map(shutil.which, ("g++", "clang++", "c++"))):
        assert os.environ.get("CI") != "true", "CI must have a C++ compiler"
        pytest.skip("torch.compile needs a C++ compiler here: apt-get install g++")
    plain, compiled = NullContext(), NullContext()
    for context, on in ((plain, False), (compiled, True)):
        options = dataclasses.replace(config(epochs=1, compile=on, lr=1e-3), model={**PLAIN, "depth": 1})
        run(options, context)
    a, b = plain.history[0][1], compiled.history[0][1]
    assert a["train.loss"] == pytest.approx(b["train.loss"], rel=1e-4)


# ---- distillation


def taught(**teacher):
    options = Teacher(model={"name": "test_resnet"}, epochs=1, **teacher)
    return dataclasses.replace(config(epochs=1), model=PLAIN, teacher=options)


def test_soft_and_hard_labels_and_their_weight():
    losses = {}
    for name, options in {
        "soft": {}, "hard": {"kind": "hard"}, "half": {"weight": 0.5}, "warm": {"temperature": 4.0},
    }.items():  # fmt: skip
        context = NullContext()
        run(taught(**options), context)
        losses[name] = context.history[0][1]["train.loss"]
    assert len(set(losses.values())) == 4


def test_a_distilled_pair_of_heads_learns_both():
    model = {**PLAIN, "name": "deit_tiny_distilled_patch16_224"}
    student = fitted(dataclasses.replace(taught(kind="hard", weight=0.5), model=model), NullContext()).model
    assert student.distilled_training
    assert student.head.weight.grad.abs().sum() > 0
    assert student.head_dist.weight.grad.abs().sum() > 0


def test_dynamic_vit_follows_its_teachers_tokens():
    trunk = {"patch_size": 2, "embed_dim": 12, "depth": 4, "num_heads": 2}
    options = dataclasses.replace(
        config(epochs=1),
        model={"name": "dynamicvit_deit_tiny_patch16_224", "locations": [1, 2], **trunk},
        teacher=Teacher(model={"name": "deit_tiny_patch16_224", **trunk}, epochs=1, tokens=True),
    )
    context = NullContext()
    run(options, context)
    assert {"loss.token", "loss.distillation", "loss.ratio"} <= set(context.history[0][1])


def test_lv_vit_learns_its_teachers_patches():
    trunk = {"stem_strides": [1, 1, 1, 2], "stem_width": 4, "embed_dim": 12, "depth": 2, "num_heads": 2}
    name = {"name": "lvvit_small", **trunk}
    losses = []
    for tokens in (False, True):
        context = NullContext()
        teacher = Teacher(model={**name, "w_dense": 0.0}, epochs=1, tokens=tokens)
        run(dataclasses.replace(config(epochs=1), model=name, teacher=teacher), context)
        losses.append(context.history[0][1]["loss.dense"])
    assert losses[0] != losses[1]
    with pytest.raises(ValueError, match=r"teacher\.tokens: this model cannot use"):
        run(dataclasses.replace(config(epochs=1), model=PLAIN, teacher=teacher), NullContext())


# ---- rules


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"train": Train(accumulate=5)}, "train.batch_size 32 is not divisible into train.accumulate 5 parts"),
        ({"train": Train(lr_scaling="linear")}, "needs train.lr_batch"),
        ({"train": Train(ema=1.0)}, "train.ema must be from 0 to below 1, got 1"),
        ({"evaluation": Evaluation(weights="ema")}, "train.ema is 0"),
        ({"train": Train(clip_mode="adaptive")}, "needs train.clip_grad"),
        ({"train": Train(mix=Mix(mixup=0.8), batch_size=7)}, "even train.batch_size, not 7"),
        ({"train": Train(mix=Mix(prob=1.5))}, "train.mix.prob must be from 0 to 1, got 1.5"),
        ({"train": Train(layer_decay=1.5)}, "train.layer_decay must be above 0"),
        ({"data": Data(augment=Augment(repeats=0))}, "data.augment.repeats must be >= 1"),
        ({"teacher": Teacher(temperature=0.0)}, "teacher.temperature must be above 0"),
    ],
)
def test_settings_that_cannot_go_together(options, text):
    with pytest.raises(ValueError, match=text):
        Config(**options)


def test_cautions(tmp_path):
    assert cautions(Config()) == []
    (lr,) = cautions(Config(train=Train(lr=1e-3, lr_batch=1024, batch_size=256)))
    assert "meant for batches of 1024, train.batch_size is 256: linear scaling would give 0.00025" in lr
    scaled = {"lr_scaling": "linear", "lr_batch": 3200}
    (above,) = cautions(Config(train=Train(lr=1e-3, min_lr=2e-5, **scaled)))
    assert above.startswith("train.min_lr 2e-05 is above the peak 1e-05: ")
    (above,) = cautions(Config(train=Train(lr=1e-6, min_lr=1, schedule="constant")))
    assert above.startswith("train.warmup_lr 1e-05 is above the peak 1e-06: ")
    (repeats,) = cautions(Config(train=Train(epochs=30), data=Data(augment=Augment(repeats=3))))
    assert "an image is seen in 10 of them" in repeats
    (crop,) = cautions(Config(data=Data("cifar10", augment=Augment(scale=(0.08, 1.0)))))
    assert "those of cifar10 are kept in memory and not cropped" in crop
    files = Data("folder", root=str(tmp_path), augment=Augment(scale=(0.08, 1.0)))
    assert cautions(Config(data=dataclasses.replace(files, image_size=65))) == []
    assert cautions(Config(data=dataclasses.replace(files, in_memory="never"))) == []
    (crop,) = cautions(Config(data=files))
    assert "those of folder, of 16 pixels, are up to 2 GB kept in memory and not cropped" in crop
    (nowhere,) = missing(Config(data=Data("folder", root=str(tmp_path / "none"))))
    assert nowhere.startswith(
        f"data.root: no folder {tmp_path}/none for the data set folder; it must be where the trials run"
    )
    context = Folder(tmp_path)
    run(config(epochs=1, ema=0.99996, lr_batch=64), context)
    assert [text.split(":")[0] for text in context.logged] == ["warning", "warning"]
    assert "averages over 25000 updates and there are 10" in context.logged[1]


def test_labels_beyond_the_classes():
    options, context = config(epochs=1), NullContext()
    state, data = prepared(options, context)
    data.classes = 5
    with pytest.raises(ValueError, match="labels go from 0 to 9, but the set has 5 classes"):
        loop.fit(state, data, options, context, ProcessGroup(context))
