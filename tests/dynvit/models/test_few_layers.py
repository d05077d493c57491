"""Models of few layers, as toy studies make them, train and evaluate with their default options."""

import pytest
import timm
import torch

import dynvit
from dynvit.output import Output

DEIT = {"img_size": 16, "patch_size": 4, "embed_dim": 16, "num_heads": 2, "num_classes": 3}
SWIN = {
    "img_size": 16,
    "patch_size": 2,
    "embed_dim": 16,
    "depths": (1, 1),
    "num_heads": (1, 2),
    "window_size": 4,
    "num_classes": 3,
}
LVVIT = {
    "img_size": 16,
    "stem_strides": (1, 1, 1, 4),
    "stem_width": 8,
    "embed_dim": 16,
    "num_heads": 2,
    "num_classes": 3,
}


def train(name, **options):
    model = timm.create_model(name, **options).train()
    output = model(torch.randn(2, 3, 16, 16))
    loss = dynvit.training_loss(output, torch.tensor([0, 2]))
    loss.backward()
    assert loss.isfinite() and model.eval()(torch.randn(2, 3, 16, 16)).isfinite().all()
    return model, output


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("tpc_deit_tiny_patch16_224", {**DEIT, "depth": 1}),
        ("tpc_lvvit_small", {**LVVIT, "depth": 1}),
        ("tpc_swin_tiny_patch4_window7_224", SWIN),
    ],
)
def test_a_budget_over_no_layer_is_none(name, options):
    """The first layer of a chain has every token, so that a rate has no layer to act on: an empty mean was taken."""
    _, output = train(name, keep_rate=0.5, **options)
    assert isinstance(output, Output) and set(output.losses) == {"prior"}
    assert "budget" in train(name, keep_rate=0.5, **{**options, **_deeper(options)})[1].losses


def _deeper(options):
    return {"depths": (1, 2)} if "depths" in options else {"depth": 2}


@pytest.mark.parametrize(("depth", "locations"), [(1, (0,)), (2, (0, 1)), (3, (0, 1, 2)), (8, (2, 4, 6))])
@pytest.mark.parametrize(
    ("name", "options"), [("dynamicvit_deit_tiny_patch16_224", DEIT), ("dynamicvit_lvvit_small", LVVIT)]
)
def test_dynamicvit_prunes_at_each_quarter_once(name, options, depth, locations):
    """Two quarters of few blocks are one place: `locations` were refused that nobody had given."""
    model, _ = train(name, depth=depth, **options)
    assert model.locations == locations and len(model.score_predictor) == len(locations)
