"""DeiT-III's options in methods on DeiT that offer them: switched off it is that backbone, both executions agree."""

import pytest
import timm
import torch
from dynvit_families import DEIT, SIZE, build, images, randomize

import dynvit
from dynvit.layers.deit import DEIT_III, DeiT
from dynvit.registry import registered

DEIT3 = dict(zip(DEIT_III, (True, 0.3, True), strict=True))
OFF = {
    "mor_off": {}, "tpc_deit": {"pause": False, "stabilizer": "off"}, "dynamicvit_deit": {"keep_ratio": 1.0},
    "evit": {"keep_rate": 1.0}, "tome": {"r": 0},
}  # fmt: skip
WITHHOLD = ("mor_token", "mor_expert", "mor_random", "edge_recvit", "mor_off", "tpc_deit", "tpc_deit_rate", "evo_deit",
            "evo_deit_mean")  # fmt: skip
ON = (*WITHHOLD, "dynamicvit_deit", "evit", "tome", "avit")


def offered(family):
    return {} if family in WITHHOLD else DEIT3


@pytest.mark.parametrize("family", OFF)
@torch.no_grad()
def test_a_method_switched_off_is_its_backbone(family):
    trunk = timm.create_model("deit_tiny_patch16_224", img_size=SIZE, num_classes=5, **{**DEIT, **offered(family)})
    trunk = randomize(trunk).eval()
    model = build(family, **OFF[family], **offered(family))
    report = dynvit.load_trunk(model, trunk.state_dict())
    assert not report.unused and not [name for name in report.kept if "blocks" in name]
    assert torch.allclose(model(images()), trunk(images()), atol=1e-5)


@pytest.mark.parametrize("family", [family for family in ON if family != "mor_off"])
@torch.no_grad()
def test_both_executions_agree(family):
    model, x = build(family, **offered(family)), images()
    gathered = model(x)
    model.set_execution("masked")
    assert torch.allclose(model(x), gathered, atol=1e-5)
    if offered(family):
        assert not torch.allclose(build(family)(x), gathered, atol=1e-3), "the options have an effect"


@pytest.mark.parametrize("family", WITHHOLD)
def test_a_method_that_withholds_the_options_refuses_them(family):
    """Options that it never had would change the identity of its trials."""
    for name, value in DEIT3.items():
        with pytest.raises(TypeError, match=f"has no option '{name}'"):
            build(family, **{name: value})


def test_every_model_on_deit_is_one_or_the_other():
    classes = {cls for cls, _ in registered().values() if issubclass(cls, DeiT)}
    assert classes == {type(build(family)) for family in ON}
    assert {cls for cls in classes if cls.withheld_options} == {type(build(family)) for family in WITHHOLD}
