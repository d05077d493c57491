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


ROTARY = ["vit_small_patch16_rope_mixed_224", "vit_small_patch16_dinov3", "eva02_tiny_patch14_224"]


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", *ROTARY, "vit_pe_core_tiny_patch16_384"])
@torch.no_grad()
def test_another_image_size_is_not_one_of_the_trunk(name):
    torch.manual_seed(0)
    model = timm.create_model(name, **SIZE).eval()
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


class Doubling(VisionTransformer):
    def forward_head(self, x, pre_logits=False):
        return 2 * super().forward_head(x, pre_logits)


@torch.no_grad()
def test_a_head_of_the_users_own_is_in_effect_or_refused():
    averaging = Doubling(**SIZE, global_pool="avg").eval()
    with pytest.raises(ValueError, match="tome pools tokens by size; the forward_head of Doubling is not timm's"):
        dynvit.reduce(averaging, "tome", r=4)
    assert torch.equal(dynvit.reduce(averaging, "topk", keep=1.0)(IMAGES), averaging(IMAGES))
    by_class = Doubling(**SIZE).eval()
    assert torch.equal(dynvit.reduce(by_class, "tome", r=0)(IMAGES), by_class(IMAGES))


class Adapter(torch.nn.Module):
    """What adapters of low rank put in the place of a layer: its weight, and more."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.more = layer, torch.nn.Linear(layer.in_features, layer.out_features)

    weight = property(lambda self: self.layer.weight)
    bias = property(lambda self: self.layer.bias)

    def forward(self, x):
        return self.layer(x) + self.more(x)


@pytest.mark.parametrize(("method", "name"), [("mctf", "vit_tiny_patch16_224"), ("pitome", "eva02_tiny_patch14_224")])
@torch.no_grad()
def test_an_adapter_of_the_projection_is_in_effect(method, name):
    options = {"r": 16} if method == "mctf" else {"ratio": 0.8}
    adapted = timm.create_model(name, **SIZE, **({"qkv_fused": True} if "eva" in name else {})).eval()
    for block in adapted.blocks:
        if getattr(block.attn, "q_bias", None) is not None:
            block.attn.q_bias = block.attn.v_bias = None
        block.attn.qkv = Adapter(block.attn.qkv)
    found = dynvit.reduce(adapted, method, **options)(IMAGES)
    for block in adapted.blocks:
        layer, more = block.attn.qkv.layer, block.attn.qkv.more
        layer.weight += more.weight
        if layer.bias is None:
            layer.bias = more.bias
        else:
            layer.bias += more.bias
        block.attn.qkv = layer
    assert torch.allclose(found, dynvit.reduce(adapted, method, **options)(IMAGES), atol=1e-5)
