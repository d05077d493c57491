"""Token scores of models: class attention as it really is, windows put back, the model's own."""

import pytest
import small_mor_vit
import small_tpc_vit
import timm
import torch
from timm.models.swin_transformer import window_partition

from dynvit.analysis.importance import _merge_windows, attention_received, class_attention, importance
from dynvit.layers.attention import full_cls_attention

WIDTH = {"img_size": 24, "patch_size": 4, "in_chans": 1, "embed_dim": 32, "depth": 3, "num_heads": 4}


def vit(name="deit_tiny_patch16_224", **options):
    torch.manual_seed(0)
    return timm.create_model(name, **{**WIDTH, **options}).eval()


@pytest.mark.parametrize(
    ("name", "options", "prefix"),
    [("deit_tiny_patch16_224", {}, 1), ("deit_tiny_distilled_patch16_224", {}, 2),
     ("vit_tiny_patch16_224", {"reg_tokens": 3, "qk_norm": True, "pre_norm": True}, 4)],
)  # fmt: skip
def test_class_attention_is_what_the_blocks_compute(name, options, prefix):
    model, x, seen = vit(name, **options), small_tpc_vit.images(dtype=torch.float32), []
    for block in model.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        model(x)
        expected = [attention.mean(1)[:, 0, prefix:] for attention in seen]
        found = class_attention(model, x)
    assert len(found) == len(expected) == 3
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("stabilizer", ["dw_pre", "peg_once", "dw_mlp"])
def test_paused_tokens_are_seen_as_the_block_would(stabilizer):
    """TPC-ViT: every token is a key, a paused one with its carried state, all through the stabilizer."""
    model, x, seen = small_tpc_vit.small(stabilizer=stabilizer), small_tpc_vit.images(), {}
    states = model.forward_intermediates(x, output_fmt="NLC", return_prefix_tokens=True, intermediates_only=True)
    before = [torch.cat([prefix, patches], 1) for patches, prefix in states[:-1]]
    for name, convolution in model.stabilizer.items() if stabilizer != "dw_mlp" else ():
        convolution.register_forward_hook(lambda _, __, out, layer=int(name): seen.setdefault(layer, out))
    with torch.no_grad():
        model(x)
        found = class_attention(model, x)
        for layer in range(1, 6):
            u_BTC = seen.get(layer, before[layer - 1])
            expected = full_cls_attention(model.blocks[layer], u_BTC)[:, 1:]
            torch.testing.assert_close(found[layer], expected, rtol=1e-9, atol=1e-12)
    assert len(seen) == {"dw_pre": 6, "peg_once": 1, "dw_mlp": 0}[stabilizer]


def test_recursive_layers_have_scores_of_their_own():
    model = small_mor_vit.small()
    found = importance("attention", model, small_mor_vit.images())
    assert len(found) == 8
    assert all(s.shape == (4, 36) and s.isfinite().all() for s in found)
    assert not torch.equal(found[3], found[4])  # the same weights, other states


def test_swin_windows_return_to_their_places():
    block = timm.create_model("swin_tiny_patch4_window7_224", img_size=56, window_size=5).layers[0].blocks[1]
    assert tuple(block.shift_size) != (0, 0)
    grid = torch.randn(2, 14, 14, 1)
    shifted = grid.roll((-block.shift_size[0], -block.shift_size[1]), (1, 2))
    windows = window_partition(torch.nn.functional.pad(shifted, (0, 0, 0, 1, 0, 1)), block.window_size)
    assert torch.equal(_merge_windows(block, windows.flatten(1), grid.shape).view(2, 14, 14, 1), grid)


def test_attention_received():
    """Each query gives away 1 in its window, so an image's tokens receive 1 / window on average."""
    torch.manual_seed(0)
    model = timm.create_model("swin_tiny_patch4_window7_224", img_size=56, depths=(2, 2, 2, 2), in_chans=1).eval()
    fused = [m.fused_attn for m in model.modules() if hasattr(m, "fused_attn")]
    found = importance("attention", model, torch.randn(2, 1, 56, 56))
    assert [s.shape[1] for s in found] == [196, 196, 49, 49, 16, 16, 4, 4]
    assert found[0].mean(1).tolist() == pytest.approx([1 / 49] * 2)
    assert found[0].std() > 0
    assert [m.fused_attn for m in model.modules() if hasattr(m, "fused_attn")] == fused
    assert not any(m._forward_pre_hooks for m in model.modules())
    pooled = timm.create_model("vit_tiny_patch16_224", class_token=False, global_pool="avg", **WIDTH).eval()
    assert [s.shape for s in attention_received(pooled, torch.randn(2, 1, 24, 24))] == [(2, 36)] * 3


def test_own_scores():
    x = small_tpc_vit.images()
    found = importance("own", small_tpc_vit.small(), x)
    assert found[0].eq(1).all()  # pi of the first layer
    assert found[2].std() > 0
    assert importance("own", vit(), x.float()) is None
    with pytest.raises(ValueError, match='"attention", "own" or "norm", not "size"'.replace('"size"', "'size'")):
        importance("size", vit(), x.float())


def test_norm_of_the_states():
    model, x = vit(), small_tpc_vit.images(dtype=torch.float32)
    found = importance("norm", model, x)
    last = model.forward_intermediates(x, output_fmt="NLC", intermediates_only=True)[-1]
    torch.testing.assert_close(found[-1], last.norm(dim=2))
    assert len(found) == 3
