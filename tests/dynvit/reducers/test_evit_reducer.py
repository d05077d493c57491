"""EViT as a reducer: the model EViT, and with it the official code, in every number."""

import parity
import pytest
import timm
import torch
from small_deit import images, small

import dynvit

MINI = {"embed_dim": 32, "num_heads": 2, "num_classes": 10}
FIXTURES = [("evit_mini_k0.7_fuse", MINI), pytest.param("evit_deit_s_k0.7_fuse", {}, marks=pytest.mark.slow)]


def as_reducer(model, **options):
    trunk = timm.create_model("vit_tiny_patch16_224", **{
        "img_size": model.img_size, "patch_size": model.patch_embed.patch_size[0], "embed_dim": model.embed_dim,
        "num_heads": model.blocks[0].attn.num_heads, "num_classes": model.num_classes,
    })  # fmt: skip
    reduced = dynvit.reduce(trunk.double().eval(), "evit", **options)
    return dynvit.load_official(reduced, model.state_dict())


@pytest.mark.parametrize(("name", "size"), FIXTURES)
def test_evaluation_equals_the_official_code(name, size):
    fixture = parity.load(name)
    model = timm.create_model("evit_deit_small_patch16_224", **size).double().eval()
    reduced = as_reducer(dynvit.load_official(model, fixture.state_dict()), keep=0.7)
    with torch.no_grad():
        assert parity.largest_difference(reduced(fixture.image()), fixture.array("logits_fp64")) < 1e-9
    assert [kept for kept in reduced.plan(196) if kept] == fixture.facts["kept_patches_per_stage"]
    cost = dynvit.complexity(reduced.float(), fixture.image(dtype=torch.float32)).gmacs
    assert cost == pytest.approx(fixture.facts["gmacs"], abs=1e-12)


@pytest.mark.parametrize("keep", [0.5, 0.98, [0.9, 0.5, 0.3]])
@pytest.mark.parametrize("fuse", [True, False])
def test_it_is_the_model(keep, fuse):
    """0.98 of 64 leaves 63 and one fused token: as many as before."""
    model, x = small("evit_deit_tiny_patch16_224", keep_rate=keep, fuse_token=fuse), images()
    reduced = as_reducer(model, keep=keep, fuse=fuse)
    with torch.no_grad(), dynvit.trace_tokens(model) as theirs, dynvit.trace_tokens(reduced) as ours:
        assert parity.largest_difference(reduced(x), model(x)) < 1e-12
    assert all(torch.equal(a, b) for a, b in zip(ours.active, theirs.active, strict=True))
    states = [m.forward_intermediates(x, intermediates_only=True)[-1] for m in (model, reduced)]
    assert parity.largest_difference(*states) < 1e-12
