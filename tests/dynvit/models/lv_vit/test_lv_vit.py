"""LV-ViT against the official model's numbers, its costs, and what makes it a model of timm."""

import parity
import pytest
import timm
import torch
from small_baselines import images, small

import dynvit


@pytest.mark.slow
def test_evaluation_equals_the_official_model():
    fixture = parity.load("lvvit_s")
    model = dynvit.load_official(timm.create_model("lvvit_small").double(), fixture.state_dict()).eval()
    with torch.no_grad():
        assert parity.largest_difference(model(fixture.image()), fixture.array("logits_fp64")) < 1e-9
        low = model.float()(fixture.image(dtype=torch.float32))
    reference = fixture.array("logits_fp64")
    assert parity.largest_difference(low, reference) < 1e-4 * reference.std().item()


@pytest.mark.parametrize(
    ("name", "params", "macs"),
    [
        ("lvvit_tiny", 8_534_720, 2_868_017_664),
        ("lvvit_small", 26_151_824, 6_551_485_440),
        ("lvvit_medium", 55_830_544, 12_678_045_696),
    ],
)
def test_parameters_and_macs(name, params, macs):
    with torch.device("meta"):
        model = timm.create_model(name)
    cost = dynvit.complexity(model, torch.empty(2, 3, 224, 224, device="meta"))
    assert (cost.params, cost.macs.tolist()) == (params, [macs, macs])


@pytest.mark.parametrize(
    ("img_size", "strides", "grid"),
    [
        (224, (2, 1, 1, 8), (14, 14)),
        (32, (2, 1, 1, 2), (8, 8)),
        (33, (2, 2, 1, 2), (4, 4)),
        ((16, 32), (1, 1, 1, 4), (4, 8)),
    ],
)
def test_the_stem_at_other_sizes(img_size, strides, grid):
    model = small("lvvit_tiny", img_size=img_size, stem_strides=strides)
    size = img_size if isinstance(img_size, tuple) else (img_size, img_size)
    x = torch.randn(2, 1, *size, dtype=torch.float64)
    assert model.patch_embed.grid_size == grid
    assert model.forward_features(x).shape == (2, 1 + grid[0] * grid[1], 32)
    with pytest.raises(ValueError, match="the model takes images of"):
        model(x[..., :-1])


def test_the_stem_normalises_alike_in_training_and_evaluation():
    stem, x = small("lvvit_tiny").patch_embed, images()
    for norm in (stem.bn1, stem.bn2, stem.bn3):
        norm.momentum = 1.0
    for _ in range(4):  # the statistics of a layer follow those of the layer below it
        trained = stem.train()(x)
    for norm in (stem.bn1, stem.bn2, stem.bn3):  # training divides by the biased variance, and keeps the other
        cells = x.shape[0] * 12 * 12
        norm.running_var.mul_((cells - 1) / cells)
    assert parity.largest_difference(stem.eval()(x), trained) < 1e-12


def test_logits_are_those_of_two_heads():
    model, x = small("lvvit_tiny"), images()
    tokens = model.forward_features(x)
    best = model.aux_head(tokens[:, 1:]).max(1).values
    assert parity.largest_difference(model(x), model.head(tokens[:, 0]) + 0.5 * best) < 1e-12


def test_skip_lam_divides_both_branches():
    model, x = small("lvvit_tiny", skip_lam=2.0), images()
    block, tokens = model.blocks[0], torch.randn(2, 5, 32, dtype=torch.float64)
    once = tokens + block.attn(block.norm1(tokens)) / 2
    assert parity.largest_difference(block(tokens), once + block.mlp(block.norm2(once)) / 2) < 1e-12
    assert torch.equal(block.ls1(tokens), tokens / 2)
    plain = small("lvvit_tiny")
    assert parity.largest_difference(model(x), plain(x)) > 1e-3


def test_both_heads_follow_the_classes():
    model = small("lvvit_tiny")
    model.reset_classifier(3)
    assert model(images()).shape == (4, 3) and model.aux_head.out_features == 3
    with dynvit.trace_tokens(model) as trace:
        model(images())
    assert trace.depth.unique().tolist() == [8]


def test_loads_itself_as_a_trunk_of_another_grid():
    source, model = small("lvvit_tiny"), small("lvvit_tiny", img_size=32, seed=2, num_classes=7)
    report = dynvit.load_trunk(model, source.state_dict())
    assert model.pos_embed.shape[1] == 65
    assert set(report.unused) == {"head.weight", "head.bias", "aux_head.weight", "aux_head.bias"}
    assert torch.equal(model.pos_embed[:, 0], source.pos_embed[:, 0])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"stem_strides": (2, 2, 2)}, "stem_strides are four positive numbers"),
        ({"img_size": 2, "stem_strides": (2, 1, 1, 8)}, "leaves no token"),
        ({"skip_lam": 0.0}, "skip_lam must be positive"),
        ({"w_dense": -1.0}, "w_dense must not be negative"),
        ({"num_heads": 5}, "not a multiple of num_heads 5"),
    ],
)
def test_wrong_options_say_so(options, words):
    with pytest.raises(ValueError, match=words):
        small("lvvit_tiny", **options)
    with pytest.raises(ValueError, match="execution"):
        small("lvvit_tiny").set_execution("dense")
