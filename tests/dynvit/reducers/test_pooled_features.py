"""Pooling over tokens that stand for several patches: the head needs their sizes, also from `forward_features`."""

import pickle

import pytest
import timm
import torch
from small_deit import SIZE, images, randomize_weights

import dynvit
from dynvit.reduction.reducer import REDUCERS

POOLS = [
    {"global_pool": "avg", "class_token": False},
    {"global_pool": "avg", "fc_norm": True},
    {"global_pool": "avg", "pool_include_prefix": True},
    {"global_pool": "avgmax"},
    {"global_pool": "map"},
    {"global_pool": "token"},
]


def reduced(options, method="tome", **rate):
    trunk = randomize_weights(timm.create_model("vit_tiny_patch16_224", **(SIZE | options))).double().eval()
    return dynvit.reduce(trunk, method, **(rate or {"r": 5}))


@pytest.mark.parametrize("options", POOLS, ids=lambda options: "-".join(map(str, options.values())))
@pytest.mark.parametrize("method", ["tome", "pitome", "mctf", "ats"])
def test_the_head_on_features_is_the_model(options, method):
    options = {**options, "class_token": True} if method == "ats" else options
    rate = {"tome": {"r": 5}, "pitome": {"ratio": 0.7}, "mctf": {"r": 6}, "ats": {"keep": 0.6}}[method]
    model, x = reduced(options, method, **rate), images(3)
    with torch.no_grad():
        logits = model(x)
        assert torch.equal(model.forward_head(model.forward_features(x)), logits)
        final = model.forward_intermediates(x)[0]
        assert torch.equal(model.forward_head(final), logits)


@pytest.mark.parametrize("options", POOLS, ids=lambda options: "-".join(map(str, options.values())))
def test_features_without_sizes_are_a_warning(options):
    model, x = reduced(options), images(2)
    with torch.no_grad():
        features = model.forward_features(x)
        if options["global_pool"] == "token":
            assert torch.equal(model.forward_head(features.clone()), model(x))
            return
        with pytest.warns(UserWarning, match="tome pools tokens by size, and these tokens count once each: give"):
            assert not torch.allclose(model.forward_head(features.clone()), model(x))
        assert torch.equal(model.forward_head(features.clone(), size_BN=features.size_BN), model(x))


def test_a_model_that_reduces_nothing_pools_as_its_trunk():
    options = {"global_pool": "avg"}
    model, x = reduced(options, r=0), images(2)
    with torch.no_grad():
        assert torch.equal(model.forward_head(model.forward_features(x)), model(x))
        assert torch.equal(pickle.loads(pickle.dumps(model))(x), model(x))


@torch.no_grad()
def test_a_pool_that_takes_no_sizes_is_refused_where_they_count():
    trunk = timm.create_model("vit_tiny_patch16_224", **SIZE, depth=4, global_pool="prr")
    trunk, by_class, x = randomize_weights(trunk).double().eval(), reduced({"depth": 4}), images(3)
    for method in dynvit.list_reducers():
        if REDUCERS[method].counts_sizes or not REDUCERS[method].static:
            with pytest.raises(ValueError, match=f"{method} pools .* by size, and AttentionPoolPrr .*: take a model"):
                dynvit.reduce(trunk, method)
            continue
        model = dynvit.reduce(trunk, method)
        assert torch.equal(model(x), trunk.forward_head(model.forward_features(x))), method
        assert torch.allclose(model(x[1:2]), model(x)[1:2], atol=1e-10), method
    by_class.attn_pool, by_class.global_pool = trunk.attn_pool, "prr"
    with pytest.raises(ValueError, match="tome pools tokens by size, and AttentionPoolPrr would count each once"):
        by_class(x)


@torch.no_grad()
def test_features_of_layers_without_prefix_tokens_are_as_timms():
    model, x = reduced(POOLS[0], r=0), images(2)
    trunk = timm.create_model("vit_tiny_patch16_224", **SIZE, **POOLS[0]).double()
    for options in ({}, {"output_dict": True}):
        found, expected = (m.forward_intermediates(x, return_prefix_tokens=True, **options) for m in (model, trunk))
        assert len(found) == len(expected)
        if options:
            assert found.keys() == expected.keys()
        else:
            assert [y.shape for y in found[1]] == [y.shape for y in expected[1]]
