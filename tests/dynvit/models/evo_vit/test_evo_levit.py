"""Evo-ViT on LeViT: the identities of the method, deployment, threads."""

import copy

import parity
import pytest
import timm
import torch
from small_evo import images, mini

import dynvit


def test_keep_ratio_one_processes_everything_like_a_plain_pyramid():
    model, x = mini("levit", keep_ratio=1.0).eval(), images("levit")
    with torch.no_grad(), dynvit.trace_tokens(model) as trace:
        logits = model(x)
        y = model.stem(x).flatten(2).transpose(1, 2)
        y = torch.cat([model.cls_token.expand(3, -1, -1), y], 1) + model.pos_embed
        for stage in model.stages:
            if stage.downsample is not None:
                y = stage.downsample.attn_downsample(y)[0]
                y = y + stage.downsample.mlp(y)
            for layer in stage.blocks:
                y = y + layer.attn(y)[0]
                y = y + layer.mlp(y)
        plain = model.forward_head(y)
    assert all(a.all() for a in trace.active) and len(trace.active) == 11
    assert parity.largest_difference(logits, plain) < 1e-6


def test_stage_mode_equals_layer_mode_while_the_kept_sets_agree():
    """One pruned layer per stage: the same selection in both modes."""
    a, b, x = (
        mini("levit", depth=(3, 1, 1)).eval(),
        mini("levit", depth=(3, 1, 1), selection="layer").eval(),
        images("levit"),
    )
    b.load_state_dict(a.state_dict())
    with torch.no_grad():
        assert parity.largest_difference(a(x), b(x)) < 1e-12


def test_folded_equals_unfolded():
    model, x = mini("levit").eval(), images("levit")
    folded = copy.deepcopy(model).fuse()
    assert not any(isinstance(m, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d) for m in folded.modules())
    with torch.no_grad():
        expected = model(x)
        assert parity.largest_difference(folded(x), expected) / expected.std().item() < 1e-10
        single = folded.float()(x.float()).double()
    assert parity.largest_difference(single, expected) / expected.std().item() < 1e-4


def test_trunk_weights_of_timm_load():
    trunk = timm.create_model("levit_128s", num_classes=10)
    model = timm.create_model("evo_levit_128s", num_classes=10)
    report = dynvit.load_trunk(model, trunk.state_dict())
    assert torch.equal(
        model.stages[1].blocks[0].attn.qkv.linear.weight, trunk.stages[1].blocks[0].attn.qkv.linear.weight
    )
    assert torch.equal(model.head_dist.linear.weight, trunk.head_dist.linear.weight)
    assert all("attention_biases" in n for n in report.unused)
    added = ("cls_token", "pos_embed", "learn_tradeoff", "head_cls")
    assert all(any(a in n for a in added) for n in report.kept)


def test_two_models_in_threads_give_their_own_numbers():
    from concurrent.futures import ThreadPoolExecutor

    models = [mini("levit", keep_ratio=r).eval() for r in (0.3, 0.6, 0.9)]
    x = images("levit")
    with torch.no_grad():
        expected = [m(x) for m in models]

    def run(i):
        with torch.no_grad():
            return models[i % 3](x)

    with ThreadPoolExecutor(3) as pool:
        for i, logits in enumerate(pool.map(run, range(12))):
            assert torch.equal(logits, expected[i % 3])


def test_position_tables_do_not_decay_and_a_wrong_size():
    assert "stages.1.downsample.attn_downsample.pos_embed" in mini("levit").no_weight_decay()
    with pytest.raises(ValueError, match="built for img_size=64"):
        mini("levit")(torch.zeros(1, 3, 32, 32, dtype=torch.float64))
