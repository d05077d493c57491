"""Distillation: a teacher's logits reach the loss, its training is resumed with the student's, bad ones are refused."""

import dataclasses
import socket
import time
from functools import partial

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from small_task import MODEL, Folder, config, fitted, numbers, prepared, register, replaced

from dynvit.checkpoint.read import InitError, read_state_dict
from dynvit.config.warnings import warnings
from dynvit.context import NullContext, Stopped
from dynvit.data.batches import model_size
from dynvit.interface import interface_of
from dynvit.models.build import build_model
from dynvit.output import soft_label_loss, training_loss
from dynvit.rng import seed_globally
from dynvit.tasks.classify import Mix, Teacher, run
from dynvit.train.distillation import distillation_loss
from dynvit.train.distributed import ProcessGroup
from dynvit.train.loop import train_epoch, trainable
from dynvit.train.teacher import Teacher as TeacherModel
from dynvit.train.teacher import TeacherError

register()
PLAIN = {"name": "vit_tiny_patch16_224", "patch_size": 4, "embed_dim": 32, "depth": 1, "num_heads": 2}
PLAIN_TOKENS = {"patch_size": 2, "depth": 2, "num_heads": 2}
CONVOLUTIONS = {"name": "test_resnet"}


def distilled(model=PLAIN, epochs=1, **teacher):
    options = dataclasses.replace(config(epochs=2), model=model)
    return dataclasses.replace(options, teacher=Teacher(model=CONVOLUTIONS, epochs=epochs, **teacher))


def test_teacher_is_trained_first_and_frozen(tmp_path):
    context = Folder(tmp_path)
    teacher = fitted(distilled(), context).teacher.model
    assert context.logged == ["teacher test_resnet trained for 1 epochs"]
    assert not teacher.training
    assert not any(p.requires_grad for p in teacher.parameters())


def test_teacher_changes_the_student_but_not_its_start():
    first, second = NullContext(seed=3), NullContext(seed=3)
    options = dataclasses.replace(config(epochs=2), model=PLAIN)
    alone, taught = (prepared(each, NullContext(seed=3))[0].model.parameters() for each in (options, distilled()))
    assert all(torch.equal(a, b) for a, b in zip(alone, taught, strict=True))
    assert run(options, first)["metrics"]["last"] != run(distilled(), second)["metrics"]["last"]
    assert first.history[0][1]["train.loss"] != second.history[0][1]["train.loss"]


def test_a_plain_student_of_a_certain_teacher_learns_its_labels(tmp_path):
    """A teacher that always answers class 3 with certainty: so does the student."""
    teacher = timm.create_model("test_resnet", num_classes=10, in_chans=1)
    torch.nn.init.zeros_(teacher.fc.weight)
    teacher.fc.bias.data = torch.eye(10)[3] * 40
    file = tmp_path / "teacher.safetensors"
    save_file(teacher.state_dict(), file)
    result = run(distilled(epochs=0, checkpoint=str(file)), NullContext())
    share_of_threes = result["metrics"]["last"]["top1"]
    assert share_of_threes == pytest.approx(10, abs=4)
    assert result["metrics"]["last"]["loss"] > 2.5


@pytest.mark.parametrize("stop_at", [4, 12, 21, 25])  # in the teacher's epoch of ten updates, then in the student's
def test_stopped_and_resumed(tmp_path, stop_at):
    options = distilled({"name": MODEL})
    alone = Folder(tmp_path / "none")
    expected = numbers(run(options, alone), alone)
    first = Folder(tmp_path, stop_at=stop_at)
    with pytest.raises(Stopped):
        run(options, first)
    second = Folder(tmp_path)
    assert numbers(run(options, second), first, second) == expected
    assert any("trained for" in text for text in second.logged) == (stop_at <= 10)


def test_a_teacher_whose_schedule_is_longer_than_its_training_is_resumed_as_it_was(tmp_path):
    """Its behavior is no part of its weights: a new one would be at the end of the schedule."""
    narrow = {"patch_size": 2, "embed_dim": 32, "depth": 6, "num_heads": 2, "switch_epoch": 50}
    options = dataclasses.replace(
        distilled(), teacher=Teacher({"name": "evo_deit_tiny_patch16_224", **narrow}, epochs=1)
    )
    before = fitted(options, Folder(tmp_path, save_at=(15,))).teacher.model
    after = fitted(options, Folder(tmp_path)).teacher.model
    assert not before.at_final_operating_point and not after.at_final_operating_point
    images = torch.randn(4, 1, 8, 8)
    assert torch.equal(before(images), after(images))


def test_pickled_weights_and_refusals(tmp_path):
    file = tmp_path / "teacher.pt"
    weights = timm.create_model("test_resnet", num_classes=10, in_chans=1).state_dict()
    torch.save({"model": weights}, file)
    run(distilled(epochs=0, checkpoint=str(file)), NullContext())
    with pytest.raises(TeacherError, match="has no weights: set teacher"):
        run(distilled(epochs=0), NullContext())
    torch.save(timm.create_model("test_resnet", num_classes=5, in_chans=1).state_dict(), file)
    with pytest.raises(TeacherError, match="does not fit the teacher"):
        run(distilled(epochs=0, checkpoint=str(file)), NullContext())
    torch.save({name: tensor.to(torch.int8) for name, tensor in weights.items()}, file)
    with pytest.raises(TeacherError, match=r"does not fit the teacher.*not of floating point \(torch\.int8"):
        run(distilled(epochs=0, checkpoint=str(file)), NullContext())


def test_a_teacher_has_the_reducer_of_its_trial(tmp_path):
    """Without it the model would be another one than was trained."""
    trained = dataclasses.replace(config(epochs=1), model=PLAIN | PLAIN_TOKENS, reducer={"name": "topk", "keep": 0.3})
    run(dataclasses.replace(trained, keep_checkpoint=True), Folder(tmp_path))
    options = dataclasses.replace(distilled(epochs=0, checkpoint=str(tmp_path)), model=PLAIN)
    options = replaced(options, "teacher", model=trained.model)
    state, data = prepared(options, NullContext())
    images, known = data.sample(16), prepared(trained, NullContext())[0].model
    known.load_state_dict(read_state_dict(tmp_path))
    assert torch.equal(state.teacher.logits(images), known.eval()(images))


@pytest.mark.parametrize("option", [{"num_classes": 7}, {"in_chans": 3}, {"img_size": 4}])
def test_options_that_contradict_the_data_are_refused(option):
    (name,) = option
    with pytest.raises(ValueError, match=rf"^model\.{name} is \d, and the data has (1|10|8): leave it out"):
        run(dataclasses.replace(config(epochs=1), model={**PLAIN, **option}), NullContext())
    options = distilled(epochs=1)
    options = replaced(options, "teacher", model={**CONVOLUTIONS, **option})
    with pytest.raises(ValueError, match=rf"^teacher\.model\.{name} is"):
        run(options, NullContext())


def test_tokens_of_a_teacher_of_another_shape_are_named():
    student = {"name": "dynamicvit_deit_tiny_patch16_224", **PLAIN_TOKENS, "embed_dim": 16, "locations": [1]}
    teacher = {"name": "deit_tiny_patch16_224", **PLAIN_TOKENS, "embed_dim": 32}
    options = dataclasses.replace(
        config(epochs=1), model=student, teacher=Teacher(model=teacher, epochs=1, tokens=True)
    )
    with pytest.raises(ValueError, match=r"its tokens are \(32, 16, 16\), the teacher's \(32, 16, 32\)"):
        run(options, NullContext())


TRUNK = {"patch_size": 8, "embed_dim": 32, "depth": 4, "num_heads": 2}
STUDENTS = {
    "vit_tiny_patch16_224": TRUNK,
    "evo_deit_tiny_patch16_224": {**TRUNK, "prune_from": 2},
    "evo_levit_128s": {"embed_dim": [32, 48, 64], "depth": [2, 3, 3], "stem_strides": [2, 2, 2, 1]},
    "lvvit_small": {"stem_width": 8, "embed_dim": 32, "depth": 4, "num_heads": 2},
    "mor_vit_tiny_patch16_224": {**TRUNK, "recursion": 2},
    "dynamicvit_deit_tiny_patch16_224": {**TRUNK, "locations": [1]},
    "dynamicvit_lvvit_small": {"stem_width": 8, "embed_dim": 32, "depth": 4, "num_heads": 2, "locations": [1]},
    "tpc_deit_tiny_patch16_224": TRUNK,
    "sret_tiny": {"base_dim": 4, "unique": [1, 2, 1]},
    "levit_128s": {"embed_dim": [32, 48, 64], "key_dim": 8, "num_heads": [2, 3, 4], "depth": [1, 1, 1]},
}


def student_loss(name, teacher_logits, options):
    """Of the same weights, images and random numbers."""
    torch.manual_seed(0)
    size = 64 if "levit" in name or name == "sret_tiny" else 32
    model = timm.create_model(name, img_size=size, num_classes=10, **STUDENTS[name]).train()
    interface_of(model).set_distilled_training(True)
    return float(distillation_loss(model(torch.randn(4, 3, size, size)), torch.arange(4), teacher_logits, options)[1])


@pytest.mark.parametrize("name", STUDENTS)
def test_no_student_ignores_its_teacher(name):
    options = distilled(weight=0.5)
    one, other = 3 * torch.randn(2, 4, 10, generator=torch.Generator().manual_seed(1))
    losses = {student_loss(name, teacher, options) for teacher in (one, other, None)}
    assert len(losses) == 3


def test_a_loss_without_a_place_for_a_teacher_refuses_one():
    model = timm.create_model("evo_deit_tiny_patch16_224", img_size=32, **TRUNK, prune_from=2).train()
    output, target = model(torch.randn(2, 3, 32, 32)), torch.arange(2)
    training_loss(output, target)
    with pytest.raises(ValueError, match="does not use a teacher"):
        training_loss(output, target, teacher_logits=torch.randn(2, 1000))


def test_the_models_own_loss_is_blended_with_the_teachers():
    model = timm.create_model("evo_deit_tiny_patch16_224", img_size=32, **TRUNK, prune_from=2, num_classes=10).train()
    output, target, teacher = model(torch.randn(4, 3, 32, 32)), torch.arange(4), torch.randn(4, 10)
    _, loss = distillation_loss(output, target, teacher, distilled(weight=0.25))
    expected = 0.75 * training_loss(output, target) + 0.25 * soft_label_loss(output.logits, teacher)
    torch.testing.assert_close(loss, expected)


def test_a_class_head_that_nothing_trains_is_refused():
    options = distilled({**PLAIN, "name": "deit_tiny_distilled_patch16_224"}, weight=1.0)
    with pytest.raises(TeacherError, match=r"teacher.weight 1: the class head of deit_tiny_distilled.* below 1"):
        run(options, NullContext())
    assert run(dataclasses.replace(options, teacher=dataclasses.replace(options.teacher, weight=0.5)), NullContext())


@pytest.mark.parametrize("tokens", [True, False])
def test_every_head_of_dynamic_lvvit_that_is_evaluated_is_trained(tokens):
    torch.manual_seed(0)
    options = STUDENTS["dynamicvit_lvvit_small"]
    model = timm.create_model("dynamicvit_lvvit_small", img_size=32, num_classes=10, **options).train()
    if tokens:
        plain = {key: value for key, value in options.items() if key != "locations"}
        model.set_teacher(timm.create_model("lvvit_small", img_size=32, num_classes=10, **plain))
    training_loss(model(torch.randn(4, 3, 32, 32)), torch.arange(4)).backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None]
    assert model.aux_head.weight.grad.abs().sum() > 0


def test_dynamic_lvvit_trains_the_logits_of_evaluation_without_a_teacher():
    """With all tokens kept, both modes compute the same."""
    torch.manual_seed(0)
    options = {**STUDENTS["dynamicvit_lvvit_small"], "keep_ratio": 1.0}
    model = timm.create_model("dynamicvit_lvvit_small", img_size=32, num_classes=10, **options).double()
    model.noise = lambda stage, logprob: torch.tensor([99.0, -99.0]).expand_as(logprob)  # always "keep"
    x = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    for module in model.train().modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    torch.testing.assert_close(model(x).logits, model.eval()(x), rtol=0, atol=1e-5)


TINY = {"patch_size": 2, "embed_dim": 16, "depth": 2, "num_heads": 2}
TEACHERS = {
    "mor_vit": {"name": "mor_vit_tiny_patch16_224", **TINY, "depth": 4, "recursion": 2},
    "evo_deit": {"name": "evo_deit_tiny_patch16_224", **TINY, "prune_from": 1, "switch_epoch": 1},
    "evit": {"name": "evit_deit_tiny_patch16_224", **TINY, "locations": [0], "shrink_start": 0, "shrink_epochs": 1},
    "auxiliary losses": {"name": MODEL},
}


@pytest.mark.parametrize("name", TEACHERS)
def test_any_model_can_be_the_teacher(name):
    """It is trained by the loop that trains students: with its own losses and schedules, mixing and clipping."""
    options = dataclasses.replace(distilled(epochs=2), teacher=Teacher(model=TEACHERS[name], epochs=2))
    options = replaced(options, "train", mix=Mix(mixup=0.8), clip_grad=1.0, ema=0.5, amp="bfloat16")
    teacher = fitted(options, NullContext()).teacher.model
    assert getattr(teacher, "at_final_operating_point", True) and not teacher.training
    assert getattr(teacher, "epochs_seen", [(1, 2)])[-1] == (1, 2)


def test_a_teacher_is_trained_as_the_same_model_alone():
    """Same options, same numbers as a training of its own whose chance has the teacher's name."""
    options = distilled(epochs=2, model={"name": MODEL})
    taught = fitted(dataclasses.replace(options, teacher=Teacher(model={"name": MODEL}, epochs=3)), NullContext())
    state, data = prepared(dataclasses.replace(config(epochs=3), model={"name": MODEL}), context := NullContext())
    seed_globally(0, "teacher")
    state.model.load_state_dict(build_model({"name": MODEL}, **model_size(data)).state_dict())
    options, group = dataclasses.replace(config(epochs=3), model={"name": MODEL}), ProcessGroup(context)
    seed_globally(0, "teacher")
    forward, augmentation = trainable(state, data, options, 0, group)
    for epoch in range(3):
        train_epoch(state, forward, augmentation, data, options, group, lambda: None)
        state.progress.epoch, state.progress.step = epoch + 1, 0
    ours, alone = taught.teacher.model.state_dict(), state.model.state_dict()
    assert all(torch.equal(ours[key], alone[key]) for key in alone)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"name": "vit_tinyy_patch16_224"}, r"teacher\.model vit_tinyy_patch16_224: .*no model .*, did you mean '"),
        ({"name": "test_resnet", "widht": 3}, r"teacher\.model test_resnet: TypeError: .*widht"),
    ],
)
def test_a_teacher_that_cannot_be_built_is_named(model, said):
    with pytest.raises(TeacherError, match=said):
        run(replaced(distilled(epochs=1), "teacher", model=model), NullContext())


def test_without_a_network_the_hub_is_not_tried_again_and_again(tmp_path, monkeypatch):
    requests = []
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(socket, "create_connection", lambda *place: requests.append(place) or refuse())
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail(f"waits {seconds} s to try again"))
    options = distilled(epochs=0, pretrained=True)
    with pytest.raises(TeacherError, match=r"Without a network give teacher\.checkpoint a file"):
        run(options, NullContext())
    assert requests == [(("127.0.0.1", 9), 5.0)]
    assert not constants.HF_HUB_OFFLINE


def published(monkeypatch):
    """timm's weights, made here in the place of the hub."""
    made = {}

    def source(cfg):
        torch.manual_seed(5)
        make = partial(timm.create_model, cfg["architecture"])
        return "state_dict", made.setdefault(cfg["architecture"], make().state_dict()).copy()

    monkeypatch.setattr(timm.models._builder, "_resolve_pretrained_source", source)
    return made


def test_a_published_teacher_of_other_classes_would_teach_at_random(monkeypatch):
    """timm leaves the classifier at its initialisation."""
    published(monkeypatch)
    with pytest.raises(TeacherError, match=r"weights of test_resnet are of 1000 classes and the data has 10: it would"):
        prepared(distilled(epochs=0, pretrained=True), NullContext())
    assert not prepared(distilled(epochs=1, pretrained=True), NullContext())[0].teacher.trained


def test_a_published_teacher_has_its_weights(monkeypatch):
    weights = published(monkeypatch)
    options = distilled(epochs=0, pretrained=True)
    data = prepared(dataclasses.replace(config(), model=PLAIN), NullContext())[1]
    data.classes, data.channels = 1000, 3
    found = TeacherModel(options.teacher, data, 0, "cpu").model.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in weights["test_resnet"].items())


def test_an_own_model_that_ignores_pretrained_is_no_source_of_weights():
    with pytest.raises(TeacherError, match=rf"weights of {MODEL} are random in place"):
        prepared(replaced(distilled(epochs=0, pretrained=True), "teacher", model={"name": MODEL}), NullContext())
    with pytest.raises(InitError, match=rf"init: timm: {MODEL} is no model of timm's, and .* random: place"):
        run(dataclasses.replace(config(), init="timm"), NullContext())


def refuse():
    raise ConnectionRefusedError


ODD = {
    "teacher.model.name is not: there is no teacher": {"teacher": {"checkpoint": "a.pt"}},
    "teacher.weight is set": {"teacher": {"weight": 0.5}},
    "teacher.model is set and no name": {"teacher": {"model": {"name": "", "depth": 3}}},
    "teacher.weight is 0": {"teacher": {"model": {"name": "test_vit"}, "weight": 0, "epochs": 1}},
    "is for soft labels": {"teacher": {"model": {"name": "test_vit"}, "kind": "hard", "temperature": 2}},
    "teacher.checkpoint are trained further": {
        "teacher": {"model": {"name": "test_vit"}, "checkpoint": "a", "epochs": 1}
    },
    "no average is kept": {"train": {"ema_warmup": True}},
    "train.mix.off_epoch is set and neither": {"train": {"mix": Mix(off_epoch=3)}},
    "train.mix.prob is set and neither": {"train": {"mix": Mix(prob=0.5)}},
    "train.mix.mode is set and neither": {"train": {"mix": Mix(mode="elem")}},
    "train.mix.cutmix alone is set": {"train": {"mix": Mix(cutmix=1.0, switch=0.9)}},
    "train.momentum is for sgd": {"train": {"momentum": 0.5}},
    "train.betas are for the Adam family": {"train": {"optimizer": "sgd", "betas": [0.8, 0.9]}},
}


@pytest.mark.parametrize("said", ODD)
def test_what_nothing_reads_is_said(said):
    options = config()
    assert list(warnings(options)) == []
    for part, changes in ODD[said].items():
        options = replaced(options, part, **changes)
    (text,) = warnings(options)
    assert said in text


def test_of_weights_of_two_origins_it_is_said_which_are_taken():
    """A recipe may name a pretrained teacher, and the study a trial instead."""
    both = replaced(config(), "teacher", model={"name": "deit_tiny_patch16_224"}, checkpoint="a.pt", pretrained=True)
    assert any("those of teacher.checkpoint are taken" in text for text in warnings(both))
    with pytest.raises(ValueError, match=r"teacher\.epochs must be >= 0"):
        replaced(config(), "teacher", epochs=-1)
