"""EViT as a citizen of timm and torch: options, heads, groups, compilation, precision, checkpointing."""

import pytest
import timm
import torch
from small_deit import images, small

import dynvit

NAME = "evit_deit_tiny_patch16_224"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"keep_rate": 0.0}, r"keep_rate must lie in \(0, 1\], got 0.0"),
        ({"keep_rate": 1.2}, r"keep_rate must lie in \(0, 1\], got 1.2"),
        ({"keep_rate": (0.5, 0.7)}, "keep_rate has 2 entries, needed is one for each of 3 locations"),
        ({"locations": (3, 12)}, "locations must be blocks of this model, 0 to 11, got 12"),
        ({"locations": (6, 3)}, "locations must be increasing block numbers"),
        ({"shrink_start": -1}, "shrink_start must not be negative"),
        ({"shrink_epochs": -5}, "shrink_epochs must not be negative"),
        ({"num_heads": 5}, "embed_dim 48 is not a multiple of num_heads 5"),
    ],
)
def test_wrong_options_say_so(options, words):
    with pytest.raises(ValueError, match=words):
        small(NAME, **options)


def test_wrong_names_and_modes_say_so():
    with pytest.raises(TypeError, match="did you mean 'keep_rate'"):
        timm.create_model(NAME, keep_rates=0.5)
    with pytest.raises(ValueError, match="execution must be gathered or masked"):
        small(NAME).set_execution("dense")
    with pytest.raises(ValueError, match="keep_rate must lie in"):
        small(NAME).set_keep_rate(2.0)


def test_names_are_those_of_the_trunk_and_timm_keeps_its_own():
    assert dynvit.list_models("evit") == [f"evit_deit_{s}_patch16_224" for s in ("base", "small", "tiny")]
    trunk, model = timm.create_model("deit_tiny_patch16_224"), timm.create_model(NAME)
    assert list(trunk.state_dict()) == list(model.state_dict()) and len(model.state_dict()) == 152
    assert type(trunk).__module__ == "timm.models.vision_transformer"


def test_a_checkpoint_of_another_size_is_refused_or_resampled():
    model, other = small(NAME), small("deit_tiny_patch16_224", img_size=64)
    with pytest.raises(ValueError, match="wrong shape: pos_embed"):
        dynvit.load_official(model, other.state_dict())
    assert not dynvit.load_trunk(model, other.state_dict()).unused
    torch.testing.assert_close(model.pos_embed[:, :1], other.pos_embed[:, :1])


def test_half_precision():
    model, x = small(NAME), images()
    with torch.no_grad():
        expected = model(x)
        half = model.bfloat16()(x.bfloat16())
        with torch.autocast("cpu", torch.bfloat16):
            mixed = model.float()(x.float())
    for found in (half, mixed):
        assert found.dtype == torch.bfloat16
        assert (found.double() - expected).abs().mean() < 0.5 * expected.std()


def test_feature_maps_keep_the_last_state_of_tokens_that_left():
    model = small(NAME, keep_rate=0.5, locations=(3, 6))
    with torch.no_grad(), dynvit.trace_tokens(model) as trace:
        final, (before, after, last) = model.forward_intermediates(images(), indices=[2, 3, 11])
        assert torch.equal(final, model.forward_features(images()))
    assert before.shape == (3, 48, 8, 8)
    still = (before == after).all(1).flatten(1)
    assert torch.equal(still, ~trace.active[4]) and still.sum(1).tolist() == [32] * 3
    assert ((before == last).all(1).flatten(1) == ~trace.active[4]).all()
    pyramid = timm.create_model(NAME, features_only=True, out_indices=[11], img_size=32, patch_size=4)
    assert pyramid(images().float())[0].shape == (3, 192, 8, 8)


@pytest.mark.parametrize("fuse", [True, False])
@torch.no_grad()
def test_states_of_a_model_whose_first_block_reduces(fuse):
    """They are those of the token reducer of the same name; the first block's were looked for among the kept tokens."""
    model, x = small(NAME, keep_rate=(0.5, 0.4), locations=(0, 2), fuse_token=fuse), images()
    trunk = small("deit_tiny_patch16_224")
    trunk.load_state_dict(model.state_dict())
    expected = dynvit.reduce(trunk, "evit", keep=[0.5, 0.4], locations=(0, 2), fuse=fuse).forward_intermediates(x)
    final, maps = model.forward_intermediates(x)
    torch.testing.assert_close(final, expected[0])
    torch.testing.assert_close(maps, expected[1])
