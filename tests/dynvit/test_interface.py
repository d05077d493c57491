"""The hooks of models of this package and of timm's own."""

import pytest
import small_deit
import small_mor_vit
import timm
import torch

from dynvit.interface import DynamicModel, interface_of


def test_timms_models_have_every_hook():
    model = timm.create_model("deit_tiny_distilled_patch16_224", **small_deit.SIZE).eval()
    hooks = interface_of(model)
    public = {name for name in vars(DynamicModel) if not name.startswith("_")}
    for name in public - {"token_classifier"}:
        getattr(hooks, name)
    assert hooks.static_cost and hooks.at_final_operating_point and hooks.has_intermediates
    assert not (hooks.records_tokens or hooks.has_backbone)
    assert (hooks.classifier_names, hooks.num_prefix_tokens) == (("head", "head_dist"), 2)
    assert hooks.fuse() is model and hooks.token_classifier() == model.get_classifier()
    assert hooks.embed_tokens(torch.zeros(2, 3, 32, 32)).shape == (2, 66, 48)
    assert (hooks.parameter_groups(0.05), hooks.set_teacher(None)) == (None, False)
    hooks.set_epoch(0, 10)
    hooks.set_distilled_training()
    assert model.distilled_training
    with pytest.raises(ValueError, match="VisionTransformerDistilled is not built on a timm backbone"):
        hooks.convert_trunk({})


def test_a_model_of_this_package_is_its_own_interface():
    model = small_deit.small("evit_deit_tiny_patch16_224", depth=12)
    assert interface_of(model) is model


@pytest.mark.parametrize(
    ("name", "options", "last_epoch_of_schedule"),
    [
        ("evit_deit_tiny_patch16_224", {"shrink_start": 2, "shrink_epochs": 4}, 5),
        ("evo_deit_tiny_patch16_224", {"switch_epoch": 3}, 2),
        ("dynamicvit_deit_tiny_patch16_224", {"freeze_epochs": 2}, 1),
        ("tome_deit_tiny_patch16_224", {}, -1),
    ],
)
def test_the_final_operating_point_follows_the_schedule(name, options, last_epoch_of_schedule):
    model = small_deit.small(name, **options)
    for epoch in range(8):
        model.set_epoch(epoch, 8)
        assert model.at_final_operating_point == (epoch > last_epoch_of_schedule), epoch


def test_a_capacity_warmup_ends_at_its_step():
    model = small_mor_vit.small(routing="expert", capacity_warmup=10)
    for step, expected in ((0, False), (9, False), (10, True)):
        model.set_step(step)
        assert model.at_final_operating_point == expected
