"""ToMe against the official model's numbers, against a merge written out token by token, and its costs."""

from itertools import pairwise

import parity
import pytest
import timm
import torch
from small_deit import images, macs, operators, small

import dynvit
from dynvit.reducers.tome import match, merge_schedule
from dynvit.reduction import signals
from dynvit.reduction.grouping import Places, group_mean
from dynvit.reduction.stream import Stream

NAME = "tome_deit_tiny_patch16_224"
FIXTURES = ["tome_mini_r13", "tome_deit_s_r13"]


@pytest.mark.parametrize("name", FIXTURES)
@pytest.mark.parametrize("of_timm", [False, True])
def test_evaluation_equals_the_official_model(name, of_timm):
    fixture = parity.load(name)
    facts, mini = fixture.facts["model"], "mini" in name
    size = {"embed_dim": 32, "num_heads": 2, "num_classes": 10} if mini else {}
    options = {"r": facts["r"], "proportional": facts["prop_attn"]}
    if of_timm:
        model = timm.create_model("deit_small_patch16_224", **size).double().eval()
        model.load_state_dict(fixture.state_dict())
        model = dynvit.tome(model, **options)
    else:
        model = timm.create_model("tome_deit_small_patch16_224", **size, **options)
        dynvit.load_official(model.double(), fixture.state_dict()).eval()
    with torch.no_grad(), dynvit.trace_tokens(model) as trace:
        assert parity.largest_difference(model(fixture.image()), fixture.array("logits_fp64")) < 1e-9
    assert torch.equal(model.sources.token_of_patch, fixture.array("token_of_patch_final").long())
    assert torch.equal(model.sources.sizes, fixture.array("final_sizes"))
    tokens = [197, *fixture.facts["tokens_after_block"]]
    assert [a.sum(1).tolist() for a in trace.active] == [[n - 1] * 2 for n in tokens[:-1]]
    assert [layer.max().item() + 1 for layer in model.sources.layers] == tokens[1:]


@pytest.mark.parametrize("prefix", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("tokens", [12, 13])
def test_merge_as_written_out(prefix, tokens):
    """Slow and plain: lists of tokens, sorted pairs, sums."""
    generator = torch.Generator().manual_seed(tokens + prefix)
    k = torch.randn(2, 3, tokens, 4, dtype=torch.float64, generator=generator)
    x = torch.randn(2, tokens, 5, dtype=torch.float64, generator=generator)
    size = torch.randint(1, 9, (2, tokens), generator=generator).double()
    r = 3
    places = Places.of(x, prefix, (1, tokens - prefix), (None,), None)
    pairs = match(signals.Signals(k, k, k, None).unit_keys(), r, places)
    new, sizes = group_mean(x, size, pairs, places)
    for b in range(2):
        metric = k[b].mean(0)
        metric = metric / metric.norm(dim=-1, keepdim=True)
        even = [i for i in range(tokens) if i % 2 == 0 and i >= prefix]
        odd = [i for i in range(tokens) if i % 2 == 1 and i >= prefix]
        best = {i: max(odd, key=lambda j: (metric[i] @ metric[j]).item()) for i in even}
        gone = sorted(even, key=lambda i: -(metric[i] @ metric[best[i]]).item())[:r]
        groups = [[i] for i in range(prefix)] + [[i] for i in even if i not in gone]
        groups += [[j, *(i for i in gone if best[i] == j)] for j in odd]
        assert sizes[b].tolist() == [sum(size[b, i].item() for i in group) for group in groups]
        means = [sum(size[b, i] * x[b, i] for i in group) / sum(size[b, i] for i in group) for group in groups]
        assert torch.allclose(new[b], torch.stack(means), atol=1e-12)


def test_without_sizes_each_token_counts_once():
    metric, x = torch.randn(2, 9, 4), torch.randn(2, 9, 5)
    places = Places.of(x, 1, (2, 4), (None,), None)
    pairs = match(metric, 2, places)
    one, two = (group_mean(x, size, pairs, places) for size in (None, torch.ones(2, 9)))
    assert torch.equal(one[0], two[0]) and torch.equal(one[1], two[1])


def test_no_more_than_half_can_go():
    model = small(NAME, r=1000)
    with torch.no_grad(), dynvit.trace_tokens(model) as trace:
        logits = model(images())
    assert logits.isfinite().all()
    assert [a.sum(1)[0].item() for a in trace.active] == [64, 32, 16, 8, 4, 2, 1, 1, 1, 1, 1, 1]
    assert model.sources.sizes.tolist() == [[1.0, 64.0]] * 3


def test_images_are_independent_and_each_patch_is_in_one_token():
    model = small(NAME, r=5)
    with torch.no_grad(), dynvit.trace_tokens(model) as trace:
        alone = torch.cat([model(image[None]) for image in images()])
        assert parity.largest_difference(alone, model(images())) < 1e-12
    sources = model.sources
    for b in range(3):
        assert torch.bincount(sources.token_of_patch[b]).tolist() == sources.sizes[b].tolist()
    assert sources.token_of_patch[:, 0].eq(0).all() and sources.sizes[:, 0].eq(1).all()
    # A token is recorded at one of its own patches.
    assert trace.active[-1].sum(1).tolist() == [64 - 11 * 5] * 3
    before_last = sources.layers[-2][:, 1:]
    for b in range(3):
        assert len(set(before_last[b][trace.active[-1][b]].tolist())) == 64 - 11 * 5


def test_proportional_attention_counts_a_token_as_often_as_its_size():
    model = small(NAME, r=[4], depth=2)
    plain = small(NAME, r=[4], depth=2, proportional=False)
    with torch.no_grad():
        start = torch.randn(2, 65, 48).double()
        stream, _ = model._block(0, Stream(start), 60, Places.of(start, 1, (8, 8), (60, None), model))
        x, size = stream.x_BND, stream.size_BN
        y = model._block(1, stream, None, None)[0].x_BND
        for b in range(2):  # the same tokens, repeated
            repeated = x[b].repeat_interleave(size[b].long(), 0)[None]
            first = size[b].long().cumsum(0) - 1
            assert torch.allclose(model.blocks[1](repeated)[0, first], y[b], atol=1e-12)
        assert not torch.allclose(model(images()), plain(images()))


# ---- schedules


@pytest.mark.parametrize(
    ("r", "inflect", "expected"),
    [
        (13, 0.0, (13,) * 12),
        ((16, -1), 0.0, (32, 29, 26, 23, 20, 17, 14, 11, 8, 5, 2, 0)),
        (16, -1.0, (32, 29, 26, 23, 20, 17, 14, 11, 8, 5, 2, 0)),
        ((16, 1), 0.0, (0, 2, 5, 8, 11, 14, 17, 20, 23, 26, 29, 32)),
        ([5, 0, 7], 0.0, (5, 0, 7, *[0] * 9)),
        ((5, 0, 7), 0.0, (5, 0, 7, *[0] * 9)),
        ([5, 0], 0.0, (5, *[0] * 11)),
        (0, 0.0, (0,) * 12),
    ],
)
def test_schedules(r, inflect, expected):
    assert merge_schedule(r, inflect, 12) == expected
    plan = small(NAME, r=r, inflect=inflect).reducer.plan(10_000, 1, 12)
    assert tuple(a - b for a, b in pairwise((10_000, *plan))) == expected


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"r": -1}, "r must not be negative, got -1"),
        ({"r": [16, -1]}, "r must not be negative, got -1; inflect makes a schedule rise or fall"),
        ({"r": [1] * 13}, "r has 13 entries, the model has 12 blocks"),
        ({"r": 8, "inflect": 1.5}, r"inflect must lie in \[-1, 1\], got 1.5"),
        ({"r": [8, 8], "inflect": -1}, "inflect shapes a single r"),
        ({"num_heads": 5}, "embed_dim 48 is not a multiple of num_heads 5"),
    ],
)
def test_wrong_options_say_so(options, words):
    with pytest.raises(ValueError, match=words):
        small(NAME, **options)


# ---- costs


MACS = {  # spec: without the matching product; r -> multiply-accumulates
    "tiny": (5_717_416, {8: 924_352_512, 13: 731_150_592, 16: 621_662_208, 12: 769_013_760}),
    "small": (22_050_664, {8: 3_416_457_216, 13: 2_702_701_056, 16: 2_290_851_840, (16, -1): 1_538_628_096}),
    "base": (86_567_656, {8: 13_103_923_200, 13: 10_367_001_600, 16: 8_771_813_376}),
}


@pytest.mark.parametrize("size", MACS)
def test_parameters_and_macs(size):
    params, published = MACS[size]
    for r, expected in published.items():
        assert macs(f"tome_deit_{size}_patch16_224", r=r) == (params, expected)


@pytest.mark.parametrize(("r", "product"), [(8, 4_640_768), (13, 3_410_624), (16, 2_866_688)])
def test_the_matching_product_is_what_the_count_leaves_out(r, product, monkeypatch):
    """Counted, it gives the published totals with the product, but for the row of the class token."""
    from contextlib import nullcontext

    without = macs("tome_deit_small_patch16_224", r=r)[1]
    monkeypatch.setattr(signals, "exclude_from_macs", nullcontext)
    counted = macs("tome_deit_small_patch16_224", r=r)[1] - without
    tokens = [197 - r * i for i in range(12)]
    class_rows = sum(64 * (n // 2) for n in tokens)  # the official code makes them and forbids them
    assert counted + class_rows == product


def test_few_operators():
    """Of four layers, which are alike: all twelve have 298 and 324, timm's DeiT-S 200, the official ToMe 500."""
    x = torch.zeros(1, 3, 224, 224)
    ours = operators(timm.create_model("tome_deit_small_patch16_224", depth=4).eval(), x)
    wrapped = operators(dynvit.tome(timm.create_model("deit_small_patch16_224", depth=4).eval(), r=13), x)
    assert ours <= 106 and wrapped <= 118
