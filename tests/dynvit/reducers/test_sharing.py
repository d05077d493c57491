"""What a reduced model shares with the one it is made of, and what becomes of a user's own code in that one."""

import pytest
import timm
import torch
from timm.models.vision_transformer import Block, VisionTransformer

import dynvit

SIZE = {"img_size": 32, "patch_size": 4, "embed_dim": 32, "num_heads": 2, "depth": 3, "num_classes": 5}
IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def trunk(**options):
    torch.manual_seed(0)
    return timm.create_model("vit_tiny_patch16_224", **SIZE, **options).eval()


@torch.no_grad()
def test_another_image_size_is_not_one_of_the_trunk():
    model = trunk()
    reduced, expected = dynvit.reduce(model, "tome", r=4), model(IMAGES)
    reduced.set_input_size((48, 32))
    assert reduced(torch.zeros(1, 3, 48, 32)).shape == (1, 5)
    assert torch.equal(model(IMAGES), expected)
    assert reduced.patch_embed.proj.weight is model.patch_embed.proj.weight


@torch.no_grad()
def test_a_trunk_that_was_compiled_in_place_is_reduced():
    model = trunk()
    expected = dynvit.reduce(model, "topk", keep=0.3)(IMAGES)
    model.compile(backend="eager")
    assert torch.equal(dynvit.reduce(model, "topk", keep=0.3)(IMAGES), expected)
    assert not torch.allclose(model(IMAGES), expected, atol=1e-4)


class Scaling(VisionTransformer):
    def forward(self, x, attn_mask=None, is_causal=False):
        return super().forward(2 * x, attn_mask, is_causal)


class Adapted(Block):
    def forward(self, x, attn_mask=None, is_causal=False):
        return 2 * super().forward(x, attn_mask, is_causal)


def test_a_forward_pass_of_the_users_own_is_not_left_out_in_silence():
    wrapped, wrapped_block = trunk(), trunk()
    wrapped.forward = lambda x: x
    wrapped_block.blocks[1].forward = lambda x: x
    for model, words in (
        (Scaling(**SIZE), "takes a timm .*, not Scaling, whose forward is not timm's"),
        (wrapped, "not VisionTransformer, whose forward is not timm's"),
        (VisionTransformer(**SIZE, block_fn=Adapted), "block 0 is a Adapted with Attention"),
        (wrapped_block, "block 1 is a Block"),
    ):
        with pytest.raises(ValueError, match=words):
            dynvit.reduce(model, "topk")
