"""`dynvit.tome` on the kinds of timm's VisionTransformer, and ToMe as a citizen of timm and torch."""

import copy
import pickle

import parity
import pytest
import timm
import torch
from small_deit import SIZE, images, randomize_weights, small
from timm.models.vision_transformer import ResPostBlock, VisionTransformer

import dynvit

NAME = "tome_deit_tiny_patch16_224"

KINDS = {
    "deit": ("deit_tiny_patch16_224", {}),
    "distilled": ("deit_tiny_distilled_patch16_224", {}),
    "layer scale": ("deit3_small_patch16_224", {}),
    "qk norm": ("vit_small_patch16_224", {"qk_norm": True}),
    "registers": ("vit_small_patch14_reg4_dinov2", {"init_values": 0.5}),
    "scale norms": ("vit_small_patch16_224", {"scale_attn_norm": True, "scale_mlp_norm": True}),
    "post norm": ("vit_small_patch16_224", {"block_fn": ResPostBlock}),
    "average": ("vit_small_patch16_224", {"global_pool": "avg", "class_token": False}),
    "average of all": ("vit_small_patch16_224", {"global_pool": "avg", "pool_include_prefix": True}),
    "average and maximum": ("vit_small_patch16_224", {"global_pool": "avgmax"}),
    "latent": ("vit_small_patch16_224", {"global_pool": "map", "class_token": False}),
    "pre norm": ("vit_small_patch16_224", {"pre_norm": True}),
}


@pytest.fixture(params=KINDS)
def trunk(request):
    name, options = KINDS[request.param]
    return small(name, **options)


def test_nothing_merged_is_the_model_bit_for_bit(trunk):
    with torch.no_grad():
        expected = trunk(images())
        for r in (0, [], [0, 0]):
            assert torch.equal(dynvit.tome(trunk, r=r)(images()), expected)
        features = dynvit.tome(trunk, r=0).forward_features(images())
        assert torch.equal(features, trunk.forward_features(images()))


def test_copies_of_one_token_merge_without_a_trace(trunk):
    """Merged equals unmerged where all patches look alike: every part that timm applies is in effect.

    Without positions an image of one colour gives equal patch tokens; proportional attention and pooling by size
    then leave the result as it is, whatever is merged into what.
    """
    trunk.pos_embed.data.zero_()
    x = torch.ones(2, 3, 32, 32, dtype=torch.float64) * torch.tensor([[0.5, -1.0, 2.0]]).double()[..., None, None]
    with torch.no_grad():
        expected = trunk(x)
        merged = dynvit.tome(trunk, r=5)
        assert parity.largest_difference(merged(x), expected) < 1e-10
        if trunk.num_prefix_tokens:  # something else to look at
            unequal = dynvit.tome(trunk, r=5, proportional=False)(x)
            assert parity.largest_difference(unequal, expected) > 1e-6


@pytest.mark.parametrize("kind", ["average", "average of all", "average and maximum", "latent"])
def test_pooling_weighs_tokens_by_size(kind):
    """As the trunk pools the tokens repeated."""
    name, options = KINDS[kind]
    trunk = small(name, **options)
    model, prefix = dynvit.tome(trunk, r=5), trunk.num_prefix_tokens
    x = torch.randn(1, prefix + 4, 48, dtype=torch.float64)
    size = torch.tensor([[1.0] * prefix + [3.0, 1.0, 5.0, 2.0]], dtype=torch.float64)
    repeated = x[0].repeat_interleave(size[0].long(), 0)[None]
    with torch.no_grad():
        assert torch.allclose(model.forward_head(x, size_BN=size), trunk.forward_head(repeated), atol=1e-12)
        assert torch.equal(model.forward_head(x), trunk.forward_head(x))
        assert not torch.allclose(model.forward_head(x), trunk.forward_head(repeated))


def test_prefix_tokens_stay_in_front_and_alone(trunk):
    model, prefix = dynvit.tome(trunk, r=5), trunk.num_prefix_tokens
    with torch.no_grad(), dynvit.trace_tokens(model) as trace:
        logits = model(images())
    assert logits.shape == (3, 10) and logits.isfinite().all()
    assert len(trace.active) == len(trunk.blocks)
    assert trace.active[-1].shape[1] + prefix == model.sources.token_of_patch.shape[1]
    assert torch.equal(model.sources.token_of_patch[:, :prefix], torch.arange(prefix).expand(3, -1))
    assert model.sources.sizes[:, :prefix].eq(1).all()
    assert model.sources.sizes.sum(1).eq(model.sources.token_of_patch.shape[1]).all()


def test_the_model_itself_goes_on_unmerged():
    trunk = small("deit_tiny_patch16_224")
    with torch.no_grad():
        expected = trunk(images())
        merged = dynvit.tome(trunk, r=8)
        assert not torch.allclose(merged(images()), expected)
        assert torch.equal(trunk(images()), expected) and type(trunk) is VisionTransformer
    assert list(merged.state_dict()) == list(trunk.state_dict())
    assert all(a is b for a, b in zip(merged.parameters(), trunk.parameters(), strict=True))
    merged.reset_classifier(3)
    merged.register_forward_hook(lambda *_: pytest.fail("a hook of the other model"))
    assert trunk(images()).shape == (3, 10)
    again = pickle.loads(pickle.dumps(dynvit.tome(trunk, r=8)))
    assert torch.equal(again(images()), copy.deepcopy(again)(images()))


def test_a_distilled_model_has_both_heads():
    trunk = small("deit_tiny_distilled_patch16_224")
    merged = dynvit.tome(trunk, r=4)
    trunk.set_distilled_training()
    assert merged.get_classifier() == (trunk.head, trunk.head_dist)
    merged.set_distilled_training()
    a, b = merged.train()(images())
    assert a.shape == b.shape == (3, 10)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (
            lambda: timm.create_model("levit_128s"),
            "takes a timm Beit or Cait or Eva or VisionTransformer, not Levit",
        ),
        (lambda: timm.create_model(NAME, **SIZE), "VisionTransformer, not ToMe"),
        (lambda: dynvit.tome(small("deit_tiny_patch16_224")), "not ReducedVisionTransformer"),
        (lambda: small("vit_tiny_patch16_224", attn_layer="diff", num_heads=2), "a Block with DiffAttention"),
        (
            lambda: small("vit_tiny_patch16_224", block_fn=timm.models.vision_transformer.ParallelScalingBlock),
            "block 0 is a ParallelScalingBlock",
        ),
    ],
)
def test_other_models_are_refused(model, words):
    with pytest.raises(ValueError, match=words):
        dynvit.tome(model())


def test_the_registered_model_is_the_wrapped_trunk():
    trunk, model = small("deit_tiny_patch16_224"), small(NAME, r=(9, -1))
    assert len(model.state_dict()) == 152
    assert not dynvit.load_trunk(model, trunk.state_dict()).unused
    with torch.no_grad():
        assert torch.equal(model(images()), dynvit.tome(trunk, r=(9, -1))(images()))
        assert torch.equal(small(NAME, r=0)(images()), trunk(images()))
    assert dynvit.list_models("tome") == [f"tome_deit_{s}_patch16_224" for s in ("base", "small", "tiny")]
    with pytest.raises(TypeError, match="did you mean 'proportional'"):
        timm.create_model(NAME, proportionl=False)


def test_it_trains():
    model = small(NAME, r=6, drop_path_rate=0.2).train()
    loss = dynvit.training_loss(model(images()), torch.tensor([1, 2, 3]))
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_gradients_are_those_of_the_weighted_means():
    model, x = small(NAME, r=6, depth=3), images(1).requires_grad_()
    logits = model(x)
    (analytic,) = torch.autograd.grad(logits[0, 0], x)
    direction, step = torch.randn_like(x), 1e-6
    with torch.no_grad():
        slope = (model(x + step * direction)[0, 0] - model(x - step * direction)[0, 0]) / (2 * step)
    assert slope.item() == pytest.approx((analytic * direction).sum().item(), rel=1e-5)


def test_a_merged_model_of_timm_compiles_and_exports():
    x = images().float()
    model = dynvit.tome(small("vit_small_patch14_reg4_dinov2", depth=3).float(), r=3)
    with torch.no_grad():
        expected = model(x)
        torch._dynamo.reset()
        compiled = torch.compile(model, fullgraph=True, backend="eager")(x)
        exported = torch.export.export(model, (x,)).module()(x)
    assert torch.allclose(compiled, expected, atol=1e-4)
    assert torch.allclose(exported, expected, atol=1e-4)


def test_half_precision():
    model, x = small(NAME, r=4), images()
    with torch.no_grad():
        expected = model(x)
        half = model.bfloat16()(x.bfloat16())
        with torch.autocast("cpu", torch.bfloat16), dynvit.trace_tokens(model):
            mixed = model.float()(x.float())
    assert model.sources.sizes.dtype == torch.float32
    for found in (half, mixed):
        assert found.dtype == torch.bfloat16 and found.isfinite().all()
        assert (found.double() - expected).abs().mean() < 0.5 * expected.std()


def test_heads_groups_and_modes():
    model = small(NAME)
    model.reset_classifier(7)
    model.double()
    assert model(images()).shape == (3, 7)
    groups = timm.models.group_parameters(model, model.group_matcher())
    assert len({g for names in groups.values() for g in names}) == sum(1 for _ in model.parameters())
    model.set_execution("masked")
    with pytest.raises(ValueError, match="execution must be gathered or masked"):
        model.set_execution("dense")
    with pytest.raises(ValueError, match="takes no attention mask"):
        model(images(), is_causal=True)


def test_feature_maps_show_each_patch_its_token():
    model = dynvit.tome(
        randomize_weights(timm.create_model("vit_small_patch14_reg4_dinov2", **SIZE)).double().eval(), r=5
    )
    with torch.no_grad(), dynvit.trace_tokens(model):
        final, pairs = model.forward_intermediates(images(), indices=2, return_prefix_tokens=True, norm=True)
        assert torch.equal(final, model.forward_features(images()))
    grid, prefix = pairs[-1]
    assert grid.shape == (3, 48, 8, 8) and torch.equal(prefix, final[:, :5])
    for b in range(3):
        assert torch.equal(grid[b].flatten(1).T, final[b, model.sources.token_of_patch[b, 5:]])


class OfAUser(VisionTransformer):
    """A class of one's own, which the reduced model's class is made of."""


def test_a_model_of_a_users_class_merges_and_is_pickled():
    trunk = OfAUser(**SIZE, depth=2).double().eval()
    merged = dynvit.tome(trunk, r=5)
    assert isinstance(merged, OfAUser)
    again = pickle.loads(pickle.dumps(merged))
    with torch.no_grad():
        assert type(again) is type(merged) and torch.equal(again(images()), merged(images()))
