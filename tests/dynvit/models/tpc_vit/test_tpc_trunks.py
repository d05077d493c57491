"""TPC-ViT on LV-ViT and Swin as timm models: parity, losses, a stable training, trunk weights, options."""

from __future__ import annotations

from typing import Any

import parity
import pytest
import timm
import torch
from small_tpc_trunks import OURS, SIZE, SWIN, controllers, first_layers, images, small, trunk
from timm.models.swin_transformer import SwinTransformer

from dynvit import Output, list_models, load_trunk, trace_tokens, training_loss
from dynvit.models.tpc_vit.smoothing import prior_loss

BOTH = pytest.mark.parametrize("kind", ["lvvit", "swin"])
CONSTANT = {"score_scale": 0.0}  # untrained, channel 0 is noise; the spec's constant start


@pytest.mark.slow
def test_lv_vit_parity() -> None:
    """Fresh, it pauses nothing and the convolutions are zero: the official LV-ViT's logits."""
    fixture = parity.load("lvvit_s")
    model = timm.create_model("tpc_lvvit_small", **CONSTANT).double().eval()
    report = load_trunk(model, fixture.state_dict())
    assert report.unused == ()
    assert all(name.startswith(("stabilizer", "controller")) for name in report.kept)
    with torch.inference_mode():
        logits = model(fixture.image())
    assert parity.largest_difference(logits, fixture.array("logits_fp64")) < 1e-9


@BOTH
def test_losses_are_those_of_the_specification(kind: str) -> None:
    model = small(kind).train()
    with trace_tokens(model) as trace:
        output = model(images())
    assert isinstance(output, Output)
    assert set(output.losses) == {"ponder", "prior"}
    ponder = sum(pi_BN.mean() for pi_BN in trace.scores)
    assert output.losses["ponder"].item() == pytest.approx(ponder.item())
    kept = small(kind, keep_rate=0.5, smoothing="spatial").train()
    with trace_tokens(kept) as trace:
        output = kept(images())
    assert set(output.losses) == {"budget"}
    later = [pi.mean() for layer, pi in enumerate(trace.scores) if layer not in first_layers(kind)]
    assert output.losses["budget"].item() == pytest.approx((torch.stack(later) - 0.5).square().mean().item())
    assert output.weights["budget"] == 2.0


@BOTH
def test_the_prior_is_over_all_layers_of_the_model(kind: str) -> None:
    """Constant scores: b is the same in every layer of every stage."""
    output = small(kind, score_scale=0.0, pause_offset=-3.0, restart=False).train()(images())
    layers = sum(controller.depth for controller in controllers(small(kind)))
    uniform = prior_loss(torch.full((layers,), 0.0474, dtype=torch.float64))
    assert output.losses["prior"].item() == pytest.approx(uniform.item(), rel=1e-9)


@BOTH
def test_distillation(kind: str) -> None:
    output, target = small(kind, distill_weight=0.5).train()(images()), torch.tensor([0, 1, 2, 3])
    teacher = torch.randn(4, 5, dtype=torch.float64)
    plain = training_loss(small(kind).train()(images()), target)
    divergence = torch.nn.functional.kl_div(output.logits.log_softmax(1), teacher.softmax(1), reduction="batchmean")
    assert training_loss(output, target, teacher).item() == pytest.approx((plain + 0.5 * divergence).item())


@BOTH
@pytest.mark.parametrize("amp", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("options", [{}, {"keep_rate": 0.5, "stabilizer": "dw_mlp", "score": "cls_attention"}], ids=str)
def test_training_stays_finite(kind: str, amp: bool, options: dict[str, Any]) -> None:
    target, x = torch.arange(8) % 5, images(8, torch.float32)
    for lr in (1e-3, 1e-2):
        torch.manual_seed(0)
        model = timm.create_model(OURS[kind], **{**SIZE[kind], "drop_path_rate": 0.1, **options}).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
        for _ in range(8):
            with torch.autocast("cpu", torch.bfloat16, enabled=amp):
                loss = training_loss(model(x), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            assert loss.isfinite()
        assert all(p.isfinite().all() for p in model.parameters())
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=amp):
            assert model.eval()(x).isfinite().all()


@BOTH
def test_half_precision_weights(kind: str) -> None:
    for options in ({}, {"score": "cls_attention", "keep_rate": 0.5}):
        model = small(kind, **options).to(torch.bfloat16)
        with torch.no_grad(), trace_tokens(model) as trace:
            assert model(images(dtype=torch.bfloat16)).isfinite().all()
        assert trace.scores[1].dtype == torch.float32


@BOTH
def test_checkpointing_gives_the_same_gradients(kind: str) -> None:
    gradients = []
    for enable in (False, True):
        model = small(kind, score="cls_attention", stabilizer="dw_mlp").train()
        model.set_grad_checkpointing(enable)
        training_loss(model(images()), torch.tensor([0, 1, 2, 3])).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    torch.testing.assert_close(*gradients, atol=1e-12, rtol=1e-12)


@BOTH
def test_timm_citizen(kind: str) -> None:
    model, x = small(kind), images()
    assert torch.equal(model.forward_head(model.forward_features(x)), model(x))
    names = dict(model.named_parameters())
    shifts = {n for n in names if n.endswith("_shift")}
    assert model.no_weight_decay() >= shifts
    assert len(shifts) == 2 * len(controllers(model))
    groups = timm.models.group_parameters(model, model.group_matcher())
    layer_of = {name: layer for layer, members in groups.items() for name in members}
    conv, block = {
        "lvvit": ("stabilizer.3.weight", "blocks.3.norm1.weight"),
        "swin": ("stabilizer.1_2.weight", "layers.1.blocks.2.norm1.weight"),
    }[kind]
    assert layer_of[conv] == layer_of[block]
    assert set(layer_of) == set(names)
    timm.models.group_parameters(model, model.group_matcher(coarse=True))
    final, states = model.forward_intermediates(x)
    assert torch.equal(final, model.forward_features(x))
    assert states[-1].shape[:2] == (4, model.num_features)
    model.reset_classifier(7)
    assert model.get_classifier().out_features == model.num_classes == 7
    assert model.double()(x).shape == (4, 7)
    assert (model.img_size, model.in_chans, model.default_cfg["classifier"]) == (
        24, 1, {"lvvit": "head", "swin": "head.fc"}[kind],
    )  # fmt: skip


def test_swin_pyramid() -> None:
    pyramid = timm.create_model(OURS["swin"], **SWIN, features_only=True).eval()
    assert [m.shape[1:] for m in pyramid(torch.randn(2, 1, 24, 24))] == [(16, 12, 12), (32, 6, 6), (64, 3, 3)]
    assert pyramid.feature_info.channels() == [16, 32, 64]
    two = timm.create_model(OURS["swin"], **SWIN, features_only=True, out_indices=(1,)).eval()
    assert [m.shape[1:] for m in two(torch.randn(2, 1, 24, 24))] == [(32, 6, 6)]
    model, reference, x = small("swin", pause=False), trunk("swin"), images()
    for parameter in model.stabilizer.parameters():
        torch.nn.init.zeros_(parameter)
    load_trunk(model, reference.state_dict())
    for options in ({}, {"norm": True}, {"indices": [0, 1], "stop_early": True}):
        (final, maps), (expected, theirs) = (m.forward_intermediates(x, **options) for m in (model, reference))
        assert torch.equal(final, expected)
        assert all(torch.equal(a, b) for a, b in zip(maps, theirs, strict=True))
    with pytest.raises(ValueError, match="output_fmt"):
        model.forward_intermediates(x, output_fmt="NHWC")


@BOTH
def test_trunk_weights_of_another_size(kind: str) -> None:
    source = trunk(kind, num_classes=7)
    other = {"img_size": 32} | ({"window_size": 3} if kind == "swin" else {})
    model = small(kind, **other)
    report = load_trunk(model, source.state_dict())
    assert all(name.startswith(("head", "aux_head")) for name in report.unused)
    assert len(report.unused) == {"swin": 2, "lvvit": 4}[kind]
    assert model(images(size=32)).shape == (4, 5)


def test_official_swin_names_load() -> None:
    """Official checkpoints merge at the end of a stage, and keep tables of indices."""
    source, official = trunk("swin"), {}
    for name, value in source.state_dict().items():
        if ".downsample" in name:
            stage = int(name.split(".")[1])
            name = name.replace(f"layers.{stage}", f"layers.{stage - 1}")
        official[name.replace("head.fc", "head")] = value
    official["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(1)
    model = small("swin", pause=False, stabilizer="off")
    report = load_trunk(model, official)
    assert report.kept == report.unused == ()
    assert torch.equal(model(images()), source(images()))


def test_swin_at_other_windows() -> None:
    assert isinstance(small("swin"), SwinTransformer)
    for size, window in ((24, 5), (20, 3), (16, 7)):
        model = small("swin", img_size=size, window_size=window)
        gathered = model(images(size=size))
        model.set_execution("masked")
        torch.testing.assert_close(model(images(size=size)), gathered, atol=1e-9, rtol=0)
    model = small("swin")
    model.set_input_size((32, 32))
    assert model(images(size=32)).shape == (4, 5)


@BOTH
def test_wrong_options(kind: str) -> None:
    with pytest.raises(TypeError, match="did you mean 'keep_rate'"):
        timm.create_model(OURS[kind], keep_ratio=0.5)
    for option, value in {"pause": "sometimes", "stabilizer": "dw", "score": "norm", "keep_rate": 2.0}.items():
        with pytest.raises(ValueError, match=option):
            timm.create_model(OURS[kind], **{**SIZE[kind], option: value})
    with pytest.raises(ValueError, match="ponder_weight must not be negative"):
        small(kind, ponder_weight=-1.0)
    with pytest.raises(ValueError, match="execution"):
        small(kind).set_execution("fast")


def test_wrong_stages_and_names() -> None:
    with pytest.raises(ValueError, match="one positive number per stage"):
        small("swin", depths=(2, 2))
    with pytest.raises(ValueError, match="width 16 of stage 0 is not a multiple of num_heads 3"):
        small("swin", num_heads=(3, 4, 4))
    assert list_models("tpc_lvvit") == ["tpc_lvvit_medium", "tpc_lvvit_small"]
    names = {f"tpc_swin_{size}_patch4_window7_224" for size in ("tiny", "small", "base")}
    assert set(list_models("tpc_swin")) == names
