"""Every reducer on timm's other transformers: Eva (rotary positions), BEiT (a bias by pairs), CaiT (talking heads)."""

import copy
import pickle

import parity
import pytest
import timm
import torch
from small_deit import SIZE, images, randomize_weights

import dynvit
from dynvit.reduction.block_kinds import parts_of
from dynvit.reduction.grouping import Grouping
from dynvit.reduction.stream import Stream

EVA, BEIT = "vit_small_patch16_dinov3", "beit_base_patch16_224"
TRUNKS = {
    "eva02": ("eva02_tiny_patch14_224", {}),
    "norm within": ("eva02_tiny_patch14_224", {"qkv_fused": True, "scale_attn_inner": True, "scale_mlp": False}),
    "dinov3": (EVA, {}),
    "mixed rotary": ("vit_small_patch16_rope_mixed_224", {}),
    "shared keys": (EVA, {"attn_type": "rope", "qkv_fused": False, "num_kv_heads": 1}),
    "post norm": (EVA, {"use_post_norm": True}),
    "pooled by attention": ("vit_pe_core_tiny_patch16_384", {}),
    "eva without rotation": (EVA, {"use_rot_pos_emb": False, "use_abs_pos_emb": True, "class_token": True}),
    "beit": (BEIT, {}),
    "beit with one bias": (BEIT, {"use_rel_pos_bias": False, "use_shared_rel_pos_bias": True, "global_pool": "token"}),
    "beit with positions alone": (BEIT, {"use_rel_pos_bias": False, "use_abs_pos_emb": True}),
    "cait": ("cait_xxs24_224", {}),
    "cait averaged": ("cait_xxs24_224", {"global_pool": "avg"}),
}
EVERYTHING = {"tome": {"r": 0}, "mctf": {"r": 0}, "pitome": {"ratio": 1.0}, "tofu": {"ratio": 1.0}}
"""Options that keep all tokens, where it is not `keep`."""
REFUSED = {
    "makes tokens of many, without a position": {"evit", "sit", "patchmerger", "sinkhorn"},
    "class token's attention, which the blocks of Cait lack": {"evit", "ats", "topk", "diffrate"},
    "the heads of Cait talk": {"mctf", "tps"},
}


def trunk_of(kind, **options):
    name, own = TRUNKS[kind]
    model = timm.create_model(name, **{**SIZE, "depth": 4, **own, **options})
    return randomize_weights(model).double().eval()


@pytest.fixture(params=TRUNKS)
def trunk(request):
    return trunk_of(request.param)


def everything(method):
    if method == "diffrate":
        return {"prune": [65] * 4, "merge": [65] * 4}
    return EVERYTHING.get(method, {"keep": 1.0})


@pytest.mark.parametrize("kind", ["eva02", "dinov3", "mixed rotary", "pooled by attention", "beit", "cait"])
def test_every_method_works_or_says_why_not(kind):
    trunk = trunk_of(kind)
    positional = dynvit.reduce(trunk, "random").knows_positions()
    cait, x = type(trunk).__name__ == "Cait", images()
    with torch.no_grad():
        expected = trunk(x)
        for method in dynvit.list_reducers():
            words = [
                why for why, methods in REFUSED.items() if method in methods and (cait if "Cait" in why else positional)
            ]
            if words:
                with pytest.raises(ValueError, match=f"^{method} .*{words[0]}"):
                    dynvit.reduce(trunk, method)
                continue
            model = dynvit.reduce(trunk, method).eval()
            assert torch.equal(dynvit.reduce(trunk, method, **everything(method))(x), expected), method
            with dynvit.trace_tokens(model) as trace:
                logits = model(x)
            assert trace.active[-1].float().mean() < 1, method
            assert parity.largest_difference(model(x[1:2]), logits[1:2]) < 1e-10, method
            final, maps = model.forward_intermediates(x)
            assert [tuple(m.shape) for m in maps] == [(3, 48, 8, 8)] * 4, method
            assert torch.equal(final, model.forward_features(x)), method
            assert torch.equal(pickle.loads(pickle.dumps(copy.deepcopy(model)))(x), logits), method


def test_tokens_that_are_left_attend_as_where_they_were(trunk):
    """The block on some tokens equals the block on all of them with the others hidden."""
    model = dynvit.reduce(trunk, "random")
    stream, front = model.enter(images()), model.tokens_in_front()
    index = torch.randperm(64, generator=torch.Generator().manual_seed(0))[:20] + front
    kept_BK = torch.cat([torch.arange(front), index]).expand(3, -1)
    hidden = torch.full((stream.x_BND.shape[1],), -torch.inf, dtype=torch.float64)
    hidden[kept_BK[0]] = 0
    part = stream._replace(x_BND=stream.x_BND[:, kept_BK[0]]).moved(Grouping(kept_BK))
    with torch.no_grad():
        for i in (1, 3):
            block, parts = model.blocks[i], parts_of(model.blocks[i])
            everywhere, there = model.positions(stream, i), model.positions(part, i)
            expected = parts.whole(block, stream.x_BND, hidden[None, None, None], everywhere)[:, kept_BK[0]]
            x_BND, signals = parts.attention(block, part.x_BND, None, there)
            for found in (parts.whole(block, part.x_BND, None, there), parts.add_mlp(block, x_BND)):
                assert torch.allclose(found, expected, atol=1e-12)
            all_BND, _ = parts.attention(block, stream.x_BND, None, everywhere)
            plain = parts.whole(block, stream.x_BND, None, everywhere)
            assert torch.allclose(parts.add_mlp(block, all_BND), plain, atol=1e-12)
            assert not torch.allclose(expected, plain[:, kept_BK[0]])
            if parts.plain_softmax:
                normed = parts.normed(block, part.x_BND)
                q, k = parts.queries_keys(block, normed, there)
                assert torch.allclose(q, signals.q_BHND) and torch.allclose(k, signals.k_BHND)
                values = parts.values(block, normed).unflatten(-1, (3, -1)).transpose(1, 2)
                assert torch.allclose(values, signals.v_BHND)


def test_a_size_counts_as_that_many_tokens(trunk):
    """In the blocks, in CaiT's class attention, and in pooling; without positions, which copies would not have."""
    model = dynvit.reduce(trunk, "tome")
    if model.knows_positions():
        model.rope = model.rel_pos_bias = None
        for block in model.blocks:
            block.attn.relative_position_bias_table = None
    front = model.tokens_in_front()
    x, size = torch.randn(2, front + 4, 48).double(), torch.tensor([[1.0] * front + [3.0, 1.0, 4.0, 2.0]] * 2).double()
    repeats = size[0].long()
    with torch.no_grad():
        for i, block in enumerate(model.blocks):
            stream, repeated = Stream(x, size), Stream(x.repeat_interleave(repeats, 1))
            found, _ = model._block(i, stream, None, None)
            expected, _ = model._block(i, repeated, None, None)
            first = repeats.cumsum(0) - 1
            assert torch.allclose(found.x_BND, expected.x_BND[:, first], atol=1e-12), block
        logits = model.forward_head(model.finish(found), size_BN=size)
        assert torch.allclose(logits, trunk.forward_head(model.finish(expected._replace(size_BN=None))), atol=1e-12)


@pytest.mark.parametrize("kind", ["dinov3", "beit", "cait"])
def test_they_compile_and_export(kind):
    model, x = dynvit.reduce(trunk_of(kind, depth=2), "tome"), images()
    with torch.no_grad():
        torch._dynamo.reset()
        assert torch.allclose(torch.compile(model, fullgraph=True, backend="eager")(x), model(x))
        batch = torch.export.Dim("batch", min=2, max=64)
        exported = torch.export.export(model, (x,), dynamic_shapes=({0: batch},)).module()
        assert torch.allclose(exported(images(5)), model(images(5)))


@pytest.mark.parametrize("kind", ["dinov3", "mixed rotary", "beit", "cait averaged"])
def test_checkpointed_gradients_are_the_same(kind):
    model, x = dynvit.reduce(trunk_of(kind), "pitome"), images()
    gradients = []
    for checkpointed in (False, True):
        model.zero_grad()
        model.train().set_grad_checkpointing(checkpointed)
        dynvit.training_loss(model(x), torch.tensor([1, 2, 3])).backward()
        gradients.append([p.grad.clone() for name, p in model.named_parameters() if "cls_token" not in name])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_rotary_positions_of_dropped_patches_are_followed():
    """In training timm drops patches and their rows of the table."""
    for name, rows in ((EVA, 1), ("vit_small_patch16_rope_mixed_224", 3)):
        model = timm.create_model(name, **{**SIZE, "depth": 2}, patch_drop_rate=0.5).train()
        reduced = dynvit.reduce(model, "tome", r=4)
        stream = reduced.enter(images().float())
        assert reduced.positions(stream, 1).positional.shape[:3] == (3, rows, 32)
        assert reduced(images().float()).isfinite().all()
