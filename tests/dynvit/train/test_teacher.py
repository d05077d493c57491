"""Distillation: a teacher's logits reach the loss, its training is resumed with the student's, bad ones are refused."""

import dataclasses

import pytest
import timm
import torch
from safetensors.torch import save_file
from small_task import MODEL, Folder, config, fitted, numbers, prepared, register

from dynvit.context import NullContext, Stopped
from dynvit.tasks.classify import Teacher, run
from dynvit.train.teacher import TeacherError

register()
PLAIN = {"name": "vit_tiny_patch16_224", "patch_size": 4, "embed_dim": 32, "depth": 1, "num_heads": 2}
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
