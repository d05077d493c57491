"""timm's ways to the features of layers within, for every family: wrapped, pruned, and from the model itself."""

from itertools import combinations

import pytest
import torch
from dynvit_families import FAMILIES, PYRAMIDS, SIZE, VITS, build, images

import dynvit

ALL = pytest.mark.parametrize("family", FAMILIES)
OF_VITS = pytest.mark.parametrize("family", VITS)


def layers(family):
    """How many features there are to choose from."""
    return len(PYRAMIDS[family]) if family in PYRAMIDS else len(build(family).blocks)


def every_subset(count):
    return [chosen for size in range(1, count + 1) for chosen in combinations(range(count), size)]


def of_own_size(feature_info, maps):
    """The maps have the channels and the reduction, a whole number, that the information says."""
    for channels, reduction, x_BCHW in zip(feature_info.channels(), feature_info.reduction(), maps, strict=True):
        assert type(reduction) is int
        assert x_BCHW.shape == (2, channels, SIZE[0] // reduction, SIZE[1] // reduction)


@ALL
@torch.no_grad()
def test_features_only_with_every_choice_of_layers(family):
    model, x = build(family), images()
    every = model.forward_intermediates(x, intermediates_only=True)
    for chosen in [*every_subset(len(every)), (-1,), (-2, 0)]:
        pyramid = build(family, features_only=True, out_indices=chosen)
        pyramid.model.load_state_dict(model.state_dict(), strict=False)
        maps = pyramid(x)
        of_own_size(pyramid.feature_info, maps)
        for i, x_BCHW in zip(chosen, maps, strict=True):
            assert torch.allclose(x_BCHW, every[i], atol=1e-5), (chosen, i)
    assert len(build(family, features_only=True)(x)) == len(every)
    assert len(build(family, features_only=True, out_indices=2)(x)) == 2


@ALL
@torch.no_grad()
def test_pruned_models_have_the_same_intermediates(family):
    x, count = images(), layers(family)
    every = build(family).forward_intermediates(x, intermediates_only=True)
    for last in range(count):
        model = build(family)
        size = sum(p.numel() for p in model.parameters())
        assert model.prune_intermediate_layers([last], prune_norm=True) == [last]
        state = model.forward_intermediates(x, indices=[last], intermediates_only=True)[0]
        assert torch.allclose(state, every[last], atol=1e-5)
        assert sum(p.numel() for p in model.parameters()) < size and model.num_classes == 0
        assert model.forward_features(x).isfinite().all()
        assert not [name for name, _ in model.named_parameters() if name.startswith("head.")]
        if family in PYRAMIDS:
            assert model.num_features == PYRAMIDS[family][last]


@ALL
@torch.no_grad()
def test_pruned_models_train(family):
    """A detector's backbone: features of the first layers, with gradients."""
    pyramid = build(family, features_only=True, out_indices=(0, 1)).train()
    x = images().requires_grad_()
    with torch.enable_grad():
        sum(x_BCHW.square().mean() for x_BCHW in pyramid(x)).backward()
    assert x.grad.abs().sum() > 0


@OF_VITS
@torch.no_grad()
def test_intermediates_of_all_tokens(family):
    model, x = build(family), images()
    final, pairs = model.forward_intermediates(x, return_prefix_tokens=True)
    assert len(pairs) == len(model.blocks)
    for patches, prefix in pairs:
        assert patches.shape == (2, 32, 4, 6) and prefix.shape == (2, 1, 32)
    assert torch.allclose(model.forward_head(final), model(x), atol=1e-5)
    flat = model.forward_intermediates(x, indices=[1, -1], output_fmt="NLC", intermediates_only=True, stop_early=True)
    for tokens, i in zip(flat, (1, -1), strict=True):
        assert torch.equal(tokens.mT.unflatten(2, (4, 6)), pairs[i][0])
    normed = model.forward_intermediates(x, indices=1, norm=True, output_fmt="NLC", intermediates_only=True)
    assert torch.equal(normed[0], model.norm(flat[1]))
    named = model.forward_intermediates(x, indices=1, return_prefix_tokens=True, output_dict=True)
    assert torch.equal(named["image_features"], final)
    assert torch.equal(named["image_intermediates"][0], pairs[-1][0])
    assert torch.equal(named["image_intermediates_prefix"][0], pairs[-1][1])


@OF_VITS
@torch.no_grad()
def test_get_intermediate_layers(family):
    model, x = build(family), images()
    every = model.forward_intermediates(x, output_fmt="NLC", intermediates_only=True)
    for tokens, i in zip(model.get_intermediate_layers(x, n=2), (-2, -1), strict=True):
        assert torch.equal(tokens, every[i])
    grids = model.get_intermediate_layers(x, n=[0, 2], reshape=True, return_prefix_tokens=True, norm=True)
    assert [tuple(part.shape) for part in grids[1]] == [(2, 32, 4, 6), (2, 1, 32)]
    assert torch.equal(grids[1][0].flatten(2).mT, model.norm(every[2]))


@OF_VITS
def test_masks_and_unknown_formats_are_refused(family):
    model, x = build(family), images()
    for call in (
        lambda: model.get_intermediate_layers(x, attn_mask=torch.ones(25, 25, dtype=torch.bool)),
        lambda: model.forward_intermediates(x, is_causal=True),
    ):
        with pytest.raises(ValueError, match="takes no attention mask: which tokens a block sees is the method's own"):
            call()
    with pytest.raises(ValueError, match="output_fmt must be NCHW or NLC, not 'NHWC'"):
        model.forward_intermediates(x, output_fmt="NHWC")


@pytest.mark.parametrize("family", PYRAMIDS)
@torch.no_grad()
def test_maps_of_a_pyramid(family):
    model, x = build(family), images()
    last, maps = model.forward_intermediates(x)
    assert [tuple(x_BCHW.shape[1:]) for x_BCHW in maps] == [
        (channels, 8 >> stage, 12 >> stage) for stage, channels in enumerate(PYRAMIDS[family])
    ]
    assert torch.equal(last, model.forward_features(x))
    assert torch.allclose(model.forward_head(last), model(x), atol=1e-5)
    early = model.forward_intermediates(x, indices=[0], stop_early=True, intermediates_only=True)
    assert torch.equal(early[0], maps[0])
    with pytest.raises(ValueError, match="output_fmt must be NCHW"):
        model.forward_intermediates(x, output_fmt="NLC")
    assert not hasattr(model, "get_intermediate_layers"), "timm's pyramids have none"


@OF_VITS
@torch.no_grad()
def test_intermediates_keep_the_spatial_structure(family):
    """A token that a layer does not compute keeps its state there, where the method does not move or merge it."""
    model, x = build(family), images()
    with dynvit.trace_tokens(model) as trace:
        model(x)
    states = model.forward_intermediates(x, output_fmt="NLC", intermediates_only=True)
    moved = family in ("tome", "evo_deit_mean") or family.startswith("tpc")  # merged, or moved by a representative
    for before, after, active_BN in zip(states, states[1:], trace.active[1:], strict=False):
        if not moved:
            assert torch.equal(after[~active_BN], before[~active_BN])
        if family != "evit":  # its tokens leave in the middle of a block
            assert (after != before)[active_BN].any(-1).all()
