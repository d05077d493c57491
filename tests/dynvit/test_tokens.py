"""The token trace, on plain timm models and on models that record for themselves."""

import pytest
import timm
import torch
from torch import nn

import dynvit


def vit(**options):
    return timm.create_model("vit_tiny_patch16_224", img_size=16, patch_size=4, embed_dim=12, depth=3, **options).eval()


class Pruning(nn.Module):
    """Keeps the first half of the tokens in its second layer."""

    def __init__(self):
        super().__init__()
        self.trace = None

    def forward(self, x_BN):
        active = torch.ones_like(x_BN, dtype=torch.bool)
        if self.trace is not None:
            self.trace.record(active)
            active = active.clone()
            active[:, active.shape[1] // 2 :] = False
            self.trace.record(active, x_BN)
        return x_BN


def test_plain_vit_has_all_patches_active():
    with dynvit.trace_tokens(vit()) as trace:
        pass
    with pytest.raises(RuntimeError, match="no forward pass"):
        _ = trace.depth
    model = vit()
    with dynvit.trace_tokens(model) as trace:
        model(torch.randn(2, 3, 16, 16))
    assert [active.shape for active in trace.active] == [(2, 16)] * 3  # the class token is not a patch
    assert trace.scores == [None] * 3
    assert trace.depth.tolist() == [[3] * 16] * 2
    assert trace.mean_active() == [1.0] * 3


def test_last_forward_counts_and_nothing_stays_behind():
    model = vit()
    before = set(vars(model))
    with dynvit.trace_tokens(model) as trace:
        model(torch.randn(2, 3, 16, 16))
        model(torch.randn(5, 3, 16, 16))
        assert [len(active) for active in trace.active] == [5] * 3
    model(torch.randn(1, 3, 16, 16))
    assert [len(active) for active in trace.active] == [5] * 3
    assert set(vars(model)) == before
    assert not model._forward_pre_hooks
    assert not any(block._forward_pre_hooks for block in model.blocks)


@pytest.mark.parametrize(
    ("name", "options", "layers"),
    [
        (
            "swin_tiny_patch4_window7_224",
            {"img_size": 56, "depths": (1, 1), "num_heads": (1, 2), "window_size": 7},
            [196, 49],
        ),
        ("levit_128s", {"img_size": 64}, [16] * 2 + [4] * 3 + [1] * 4),
    ],
)
def test_hierarchical_models(name, options, layers):
    model = timm.create_model(name, **options).eval()
    size = options["img_size"]
    with dynvit.trace_tokens(model) as trace:
        model(torch.randn(2, 3, size, size))
    assert [active.shape[1] for active in trace.active] == layers
    assert trace.depth.tolist() == [[len(layers)] * layers[0]] * 2


@pytest.mark.parametrize(
    ("name", "options", "size", "grid"),
    [
        # as many columns as channels: taken for a map with the channels in front, of 24 x 24
        ("swin_tiny_patch4_window7_224",
         {"img_size": (56, 96), "embed_dim": 24, "depths": (1, 1), "num_heads": (1, 2)}, (56, 96), (14, 24)),
        # a layer norm, and the channels in front: taken for 24 rows of 8
        ("convnext_tiny", {"depths": (1, 1, 1, 1), "dims": (24, 32, 48, 56)}, (32, 64), (8, 16)),
        ("convnext_tiny", {"depths": (1, 1, 1, 1), "dims": (24, 32, 48, 56)}, (64, 96), (16, 24)),
    ],
)  # fmt: skip
def test_maps_that_are_not_square(name, options, size, grid):
    model = timm.create_model(name, **options).eval()
    with dynvit.trace_tokens(model) as trace:
        model(torch.randn(2, 3, *size))
    rows, columns = grid
    halved = [-(-rows // 2**stage) * -(-columns // 2**stage) for stage in range(len(trace.active))]
    assert trace.grid == grid and [active.shape[1] for active in trace.active] == halved
    assert trace.depth.tolist() == [[len(halved)] * (rows * columns)] * 2


@pytest.mark.parametrize("method", ["", "tome", "uniform"])
def test_grid_of_images_of_another_size(method):
    """It was that of the model's own size, which has another number of patches."""
    model = vit(dynamic_img_size=True)
    model = dynvit.reduce(model, method) if method else model
    with dynvit.trace_tokens(model) as trace:
        model(torch.randn(2, 3, 24, 16))
        assert trace.grid == (6, 4) and trace.active[0].shape == (2, 24)
        model(x=torch.randn(2, 3, 16, 16))
    assert trace.grid == (4, 4)


def test_a_class_token_that_comes_late_is_no_patch_at_any_size():
    """XCiT takes images of any size, and its blocks have the patches alone: one of them was left out."""
    model = timm.create_model("xcit_nano_12_p16_224", depth=2).eval()
    with dynvit.trace_tokens(model) as trace:
        model(torch.randn(1, 3, 64, 96))
    assert [active.shape[1] for active in trace.active] == [24, 24]


def test_model_with_its_own_trace():
    model = Pruning()
    x = torch.arange(8.0).view(2, 4)
    with dynvit.trace_tokens(model) as trace:
        model(x)
    assert trace.depth.tolist() == [[2, 2, 1, 1]] * 2
    assert trace.mean_active() == [1.0, 0.5]
    assert trace.scores[0] is None
    assert torch.equal(trace.scores[1], x)
    assert model.trace is None


def test_nested_traces_put_the_outer_one_back():
    model = Pruning()
    with dynvit.trace_tokens(model) as outer:
        model(torch.zeros(3, 4))
        with dynvit.trace_tokens(model) as inner:
            model(torch.zeros(1, 4))
        assert model.trace is outer
    assert (len(outer.active[0]), len(inner.active[0])) == (3, 1)
    assert len(outer.active) == 2


def test_trace_is_put_back_after_an_error():
    model = vit()
    with pytest.raises(ZeroDivisionError), dynvit.trace_tokens(model):
        1 / 0  # noqa: B018
    assert "trace" not in vars(model)


def test_coarse_token_stands_for_the_fine_ones_above_it():
    trace = dynvit.TokenTrace()
    trace.record(torch.ones(1, 16, dtype=torch.bool))
    trace.record(torch.tensor([[True, False, False, True]]))
    assert trace.depth.view(4, 4).tolist() == [[2, 2, 1, 1], [2, 2, 1, 1], [1, 1, 2, 2], [1, 1, 2, 2]]
    trace.record(torch.ones(1, 7, dtype=torch.bool))
    with pytest.raises(ValueError, match="grid of 7 tokens"):
        _ = trace.depth


def test_model_without_tokens():
    model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="no token trace"), dynvit.trace_tokens(model):
        pass
    model(torch.zeros(1, 2))  # no hook was left behind
