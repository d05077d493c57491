"""timm's conventions for every family: copies, heads, image sizes, channels, checkpoints, half precision, training."""

import copy
import io
import pickle

import dynvit_families as families
import pytest
import timm
import torch
from dynvit_families import FAMILIES, LARGER, PYRAMIDS, SIZE, VITS, build, images
from torch import nn

import dynvit
from dynvit.checkpoint.load import load_matching
from dynvit.interface import side_or_sides
from dynvit.registry import registered
from dynvit.trunks import trunk_of

ALL = pytest.mark.parametrize("family", FAMILIES)
OF_VITS = pytest.mark.parametrize("family", VITS)
NO_PATCH_SIZE = ("sret", "evo_levit", "lvvit", "tpc_lvvit", "dynamicvit_lvvit")


def test_every_model_class_is_among_the_families():
    classes = {cls for cls, _ in registered().values() if cls.__module__.startswith("dynvit.models.")}
    assert classes == {type(build(family)) for family in FAMILIES}


@ALL
@torch.no_grad()
def test_copies_give_the_same_logits(family):
    model, x = build(family), images()
    expected = model(x)
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    loaded = build(family)
    randomized = {name: torch.randn_like(p) for name, p in loaded.named_parameters()}
    loaded.load_state_dict(randomized, strict=False)
    loaded.load_state_dict(model.state_dict())
    copies = copy.deepcopy(model), pickle.loads(pickle.dumps(model)), torch.load(buffer, weights_only=False), loaded
    for other in copies:
        assert torch.equal(other(x), expected)


@ALL
@torch.no_grad()
def test_the_head_makes_the_logits_from_the_features(family):
    model, x = build(family), images()
    features, expected = model.forward_features(x), model(x)
    assert torch.allclose(model.forward_head(features), expected, atol=1e-5)
    pooled = model.forward_head(features, pre_logits=True)
    assert pooled.shape == (2, model.num_features)
    for execution in ("gathered", "masked"):
        model.set_execution(execution)
        assert torch.allclose(model(x), expected, atol=1e-5)


@ALL
@torch.no_grad()
def test_a_new_classifier(family):
    model, x = build(family).train(), images()
    body = model.eval().forward_features(x)
    pooled = model.forward_head(body, pre_logits=True)
    model.train().reset_classifier(7)
    assert all(module.training for module in model.modules())
    assert model.eval()(x).shape == (2, 7) and model.num_classes == 7
    assert torch.equal(model.forward_features(x), body)
    model.double().reset_classifier(3)
    assert model(x.double()).dtype == torch.float64
    model.float().reset_classifier(0)
    assert torch.equal(model.forward_features(x), body) and torch.equal(model(x), pooled)
    if family not in PYRAMIDS:
        model.reset_classifier(0, "")
        assert model.forward_head(body).shape[:2] == body.shape[:2]


@ALL
def test_a_pooling_that_the_head_cannot_do_is_refused(family):
    own = {"sret": "avg", "evo_levit": "avg", "evo_deit": "avg", "evo_deit_mean": "avg"}
    own |= dict.fromkeys(("lvvit", "tpc_lvvit", "dynamicvit_lvvit"), "token")
    model = build(family)
    if family in own:
        with pytest.raises(ValueError, match=f"global_pool must be '{own[family]}' or '' \\(none\\), not 'max'"):
            model.reset_classifier(5, "max")
    elif family not in PYRAMIDS:  # pools what is left
        model.reset_classifier(5, "avg")
        with torch.no_grad():
            expected = model(images())
            model.set_execution("masked")
            assert expected.isfinite().all() and torch.allclose(model(images()), expected, atol=1e-5)


@ALL
@torch.no_grad()
def test_another_image_size(family):
    """A model that changes its size is the model built at that size, in both executions, and back again."""
    model = build(family)
    for size in (LARGER, SIZE[::-1], (64, 64)):
        model.set_input_size(size, **({"window_size": 4} if "swin" in family else {}))
        assert model.img_size == side_or_sides(size)
        other = build(family, img_size=size)
        other.load_state_dict(model.state_dict())
        x = images(size=size)
        for execution in ("gathered", "masked"):
            model.set_execution(execution)
            with dynvit.trace_tokens(model) as trace:
                assert torch.allclose(model(x), other(x), atol=1e-5)
            tokens = trace.active[0].shape[1]
            assert trace.depth.shape == (2, tokens) and trace.depth.max() <= len(trace.active)
            assert tokens == model.grid[0] * model.grid[1]


@ALL
def test_what_cannot_be_resized_says_so(family):
    model = build(family)
    if family in NO_PATCH_SIZE:
        with pytest.raises(ValueError, match="patches follow from stem_strides: patch_size cannot be set"):
            model.set_input_size(patch_size=(8, 8))
    else:
        model.set_input_size((64, 96), patch_size=2 * model.patch_embed.patch_size[0])
        assert model.eval()(images(size=(64, 96))).shape == (2, 5)
    before = model.img_size
    wrong = {"sret": "multiple of 16", "evo_levit": "divisible by 4"}
    if family in wrong:
        with pytest.raises(ValueError, match=wrong[family]):
            model.set_input_size((33, 47))
        assert model.img_size == before
    with pytest.raises((AssertionError, ValueError), match=r"[Ii]mage|Input height"):
        model(images(size=(16, 16)))


@ALL
def test_one_number_and_two_are_the_same_size(family):
    one, two = build(family, img_size=64), build(family, img_size=(64, 64))
    with torch.no_grad():
        assert torch.equal(one(images(size=(64, 64))), two(images(size=(64, 64))))
    assert one.img_size == two.img_size == 64 and one.default_cfg["input_size"] == (3, 64, 64)


@ALL
def test_image_channels_and_the_names_in_the_configuration(family):
    model = build(family, in_chans=1)
    assert model(images(channels=1)).shape == (2, 5) and model.in_chans == 1
    assert model.default_cfg["input_size"] == (1, *SIZE)
    assert model.get_submodule(model.default_cfg["first_conv"]).in_channels == 1
    assert model.get_submodule(model.default_cfg["classifier"]).out_features == 5
    assert isinstance(model.get_classifier(), nn.Module)


@ALL
def test_gradient_checkpointing_changes_nothing(family):
    model = build(family, drop_path_rate=0.2).train()
    if family == "evo_levit":
        with pytest.raises(ValueError, match="batch statistics would be counted twice"):
            model.set_grad_checkpointing()
        return
    gradients = []
    for enable in (False, True):
        model.set_grad_checkpointing(enable)
        model.zero_grad()
        torch.manual_seed(0)
        dynvit.training_loss(model(images()), torch.tensor([0, 1])).backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    plain, again = gradients
    assert plain.keys() == again.keys() and len(plain) > 10
    assert all(torch.allclose(plain[name], again[name], atol=1e-5) for name in plain)


@ALL
def test_half_precision(family):
    model, x = build(family), images()
    with torch.no_grad():
        expected = model(x)
    for execution in ("gathered", "masked"):
        model.set_execution(execution)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            mixed = model.float()(x)
        with torch.no_grad():
            half = model.bfloat16()(x.bfloat16())
        for logits in (mixed, half):
            assert logits.dtype == torch.bfloat16 and logits.isfinite().all()
        assert (mixed - expected).abs().mean() < 0.5 * expected.std()
    with torch.autocast("cpu", torch.bfloat16):
        loss = dynvit.training_loss(model.float().train()(x), torch.tensor([0, 1]))
    loss.backward()
    assert loss.isfinite() and all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@ALL
def test_weights_of_the_backbone_at_another_size(family):
    name, options = FAMILIES[family]
    model = build(family)
    if family == "sret":
        with pytest.raises(ValueError, match="SReT is not built on a timm backbone"):
            dynvit.load_trunk(model, build(family).state_dict())
        return
    backbone = {"name": name} if family == "lvvit" else trunk_of({"name": name, **options})
    sizes = families.SWIN if "swin" in family else families.LVVIT if "lvvit" in family else {}
    if family == "evo_levit":
        sizes = {key: value for key, value in families.LEVIT.items() if key != "stem_strides"}
    trunk = timm.create_model(backbone.pop("name"), img_size=64, num_classes=5, **{**backbone, **sizes})
    report = dynvit.load_trunk(model, trunk.state_dict())
    added = ("score_predictor", "router", "controller", "stabilizer", "norm_cls", "head_cls", "learn_tradeoff")
    added += ("aux_head", "cls_token", "pos_embed") if family == "evo_levit" else ()
    assert not [n for n in report.kept if not any(a in n for a in added) and "blocks" not in n]
    assert len(report.loaded) > 10 and model(images()).isfinite().all()


@ALL
@torch.no_grad()
def test_own_weights_at_another_size(family):
    model, larger = build(family), build(family, img_size=64)
    expected = copy.deepcopy(larger)
    expected.set_input_size(SIZE, **({"window_size": 4} if "swin" in family else {}))
    report = load_matching(model, larger.state_dict())
    assert not report.kept and not report.unused
    assert torch.allclose(model(images()), expected(images()), atol=1e-5)
