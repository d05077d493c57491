"""DeiT-III's options reach every method on DeiT: switched off it is that backbone, and both executions agree."""

import pytest
import timm
import torch
from dynvit_families import DEIT, SIZE, build, images, randomize

import dynvit
from dynvit.layers.deit import DeiT
from dynvit.registry import registered

DEIT3 = {"qk_norm": True, "init_values": 0.3, "no_embed_class": True}
OFF = {
    "mor_off": {}, "tpc_deit": {"pause": False, "stabilizer": "off"}, "dynamicvit_deit": {"keep_ratio": 1.0},
    "evit": {"keep_rate": 1.0}, "tome": {"r": 0},
}  # fmt: skip
ON = ("mor_token", "mor_expert", "mor_random", "edge_recvit", "tpc_deit", "tpc_deit_rate", "dynamicvit_deit", "evit",
      "tome", "avit", "evo_deit", "evo_deit_mean")  # fmt: skip


@pytest.mark.parametrize("family", OFF)
@torch.no_grad()
def test_a_method_switched_off_is_its_backbone(family):
    trunk = timm.create_model("deit_tiny_patch16_224", img_size=SIZE, num_classes=5, **{**DEIT, **DEIT3})
    trunk = randomize(trunk).eval()
    model = build(family, **OFF[family], **DEIT3)
    report = dynvit.load_trunk(model, trunk.state_dict())
    assert not report.unused and not [name for name in report.kept if "blocks" in name]
    assert torch.allclose(model(images()), trunk(images()), atol=1e-5)


@pytest.mark.parametrize("family", ON)
@torch.no_grad()
def test_both_executions_agree(family):
    model, x = build(family, **DEIT3), images()
    gathered = model(x)
    model.set_execution("masked")
    assert torch.allclose(model(x), gathered, atol=1e-5)
    assert not torch.allclose(build(family)(x), gathered, atol=1e-3), "the options have an effect"


def test_every_model_on_deit_has_the_options():
    classes = {cls for cls, _ in registered().values() if issubclass(cls, DeiT)}
    assert classes == {type(build(family)) for family in ON}
