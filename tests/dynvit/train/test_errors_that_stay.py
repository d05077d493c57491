"""What cannot be built is marked: the driver does not try the trial again."""

import dataclasses

import pytest
from small_task import config, register

from dynvit.config.data import Data
from dynvit.context import NullContext
from dynvit.tasks.classify import run

register()

WRONG = {
    "option": {"model": {"name": "vit_tiny_patch16_224", "patch_size": 4, "no_such_option": 1}},
    "combination": {"model": {"name": "evit_deit_tiny_patch16_224", "patch_size": 4, "depth": 3}},
    "weights": {"init": "/nowhere/weights.pt"},
    "data": {"data": Data("folder", root="/nowhere", image_size=8)},
    "teacher": {"teacher": {"model": {"name": "test_resnet"}}},
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_built_is_permanent(name):
    options = dict(WRONG[name])
    if name == "teacher":
        options["teacher"] = type(config().teacher)(**options["teacher"])
    with pytest.raises((TypeError, FileNotFoundError, ValueError), match=r".") as caught:
        run(dataclasses.replace(config(), **options), NullContext())
    assert caught.value.permanent


def test_a_loss_that_is_lost_may_be_another_one_next_time():
    with pytest.raises(FloatingPointError, match="nan") as caught:
        run(config(model={"poison": 3}), NullContext())
    assert not hasattr(caught.value, "permanent")
