"""MCTF: its training against the official numbers, its matching and merged attention written out token by token."""

import parity
import pytest
import torch
from small_deit import images, small
from test_parity import reduced

import dynvit
from dynvit.reducers.mctf import merged_attention
from dynvit.reducers.mctf_matching import match_both_ways
from dynvit.reduction.grouping import Places, group_mean
from dynvit.reduction.reducer import make_reducer

MINI = "mctf_mini_train"


def test_training_equals_the_official_code():
    fixture = parity.load(MINI)
    facts = fixture.facts["train"]
    model = reduced("mctf", fixture, r_teacher=1, threshold=fixture.facts["model"]["threshold"]).train()
    output = model(fixture.image())
    assert parity.largest_difference(output.logits, fixture.array("logits_fp64")) < 1e-9
    assert parity.largest_difference(output.extra["teacher_logits"], fixture.array("logits_teacher_fp64")) < 1e-9
    assert parity.largest_difference(output.extra["distance"], fixture.array("consistency_per_image")) < 1e-9
    loss = dynvit.training_loss(output, fixture.labels())
    loss.backward()
    assert output.losses["teacher"].item() == pytest.approx(facts["ce_teacher"], abs=1e-9)
    assert output.losses["consistency"].item() == pytest.approx(facts["consistency"], abs=1e-9)
    assert loss.item() == pytest.approx(facts["loss"], abs=1e-9)
    assert not parity.wrong_gradients(model, facts["gradient_norms"])


def test_images_that_are_not_sure_of_their_label_have_no_consistency_term():
    model = dynvit.reduce(small("deit_tiny_patch16_224"), "mctf", r=4, threshold=0.999).train()
    output = model(images())
    loss = dynvit.training_loss(output, torch.tensor([1, 2, 3]))
    assert output.losses["consistency"].item() == 0 and loss.isfinite()
    soft = torch.full((3, 10), 0.1, dtype=torch.float64)
    assert dynvit.training_loss(model(images()), soft).isfinite()


def test_the_second_pass_merges_a_number_drawn_each_time_and_leaves_no_trace(monkeypatch):
    model = dynvit.reduce(small("deit_tiny_patch16_224"), "mctf", r=6, r_teacher=3).train()
    torch.manual_seed(0)
    with dynvit.trace_tokens(model) as trace:
        teachers = {model(images(1)).extra["teacher_logits"].sum().item() for _ in range(20)}
    assert len(teachers) == 3 and model.reducer.r == 6
    assert trace.active[-1].sum(1).tolist() == [64 - 6 * 10 + 5]  # the last block merges on its input; 9 stay
    plain = dynvit.reduce(small("deit_tiny_patch16_224"), "mctf", r=6, r_teacher=0)
    with torch.no_grad():
        assert torch.equal(plain.train()(images()), plain.eval()(images()))


@pytest.mark.parametrize("prefix", [0, 1, 2, 5])
@pytest.mark.parametrize(("r", "back"), [(4, 2), (5, 3), (4, 0), (1, 1)])
def test_matching_and_attention_as_written_out(prefix, r, back):
    generator = torch.Generator().manual_seed(10 * prefix + r)
    tokens, H = prefix + 13, 2
    x = torch.randn(2, tokens, 4, dtype=torch.float64, generator=generator)
    weight = torch.rand(2, tokens, dtype=torch.float64, generator=generator) + 0.1
    attention = torch.randn(2, H, tokens, tokens, dtype=torch.float64, generator=generator).softmax(-1)
    places = Places.of(x, prefix, (1, 13), (None,), None)
    even, odd = (list(range(first, tokens, 2)) for first in places.parity())
    attraction = torch.rand(2, len(even), len(odd), dtype=torch.float64, generator=generator)
    grouping = match_both_ways(attraction, back, r, places)
    merged, _ = group_mean(x, weight, grouping, places)
    value = torch.randn(2, merged.shape[1], 2 * H, dtype=torch.float64, generator=generator)
    mixed = merged_attention(attention, value, grouping, weight, places)
    for b in range(2):
        groups = written_out(attraction[b], even, odd, back, r, prefix)
        means = [sum(weight[b, i] * x[b, i] for i in group) / sum(weight[b, i] for i in group) for group in groups]
        assert torch.allclose(merged[b], torch.stack(means), atol=1e-12)
        for c, rows in enumerate(groups):
            share = [weight[b, i] / sum(weight[b, j] for j in rows) for i in rows]
            for h in range(H):
                to = [sum(s * attention[b, h, i, j] for s, i in zip(share, rows, strict=True) for j in group)
                      for group in groups]  # fmt: skip
                expected = sum(a * value[b, d, 2 * h : 2 * h + 2] for d, a in enumerate(to))
                assert torch.allclose(mixed[b, c, 2 * h : 2 * h + 2], expected, atol=1e-12)


def written_out(attraction, even, odd, back, r, prefix):
    """Groups of positions in their order, the one that stays first."""
    of = {(i, j): attraction[s, t].item() for s, i in enumerate(even) for t, j in enumerate(odd)}
    best = {i: max(odd, key=lambda j: of[i, j]) for i in even}
    first = sorted(even, key=lambda i: -of[i, best[i]])[: r - back]
    left = [i for i in even if i not in first]
    partner = {j: max(left, key=lambda i: of[i, j]) for j in odd}
    falling = sorted(odd, key=lambda j: -of[partner[j], j]) if back else odd
    with_joined = {j: [j, *(i for i in first if best[i] == j)] for j in odd}
    groups = [[p] for p in range(prefix)]
    groups += [[i, *(k for j in falling[:back] if partner[j] == i for k in with_joined[j])] for i in left]
    return groups + [with_joined[j] for j in falling[back:]]


def test_the_number_of_tokens():
    """Shares of what is left, but for the class token; at most half; nine patches at the least, where r is a number."""

    def left(patches, depth=4, **options):
        return make_reducer("mctf", options).plan(patches, 1, depth)

    assert left(64, r=0.35, layers=(1, 3)) == (None, 42, None, 28)
    assert left(196, r=150) == (None, 98, 49, 25)
    assert left(20, r=8) == (None, 12, 9, 9)
    assert left(8, r=8) == (None, 8, 8, 8)
    assert left(64, r=0) == (None, 64, 64, 64)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"r": -1}, "r must not be negative, got -1"),
        ({"r": 2.5}, "r must be a number of tokens or a share below 1, got 2.5"),
        ({"taus": (1, 20)}, "taus has 2 entries, needed are three"),
        ({"taus": (0, 1, 1)}, "taus must be positive, got 0"),
        ({"pooling": "atention"}, "pooling must be one of .* did you mean 'attention'"),
        ({"consistency": -1}, "consistency must not be negative, got -1"),
        ({"threshold": 5}, r"threshold must lie in \[0, 1\], as the probability that it is, got 5"),
        ({"ahead": 3}, "ahead must be one of 0, 1, 2, got 3"),
        ({"layers": (12,)}, "layers must be blocks of this model, 0 to 11, got 12"),
    ],
)
def test_wrong_options_say_so(options, words):
    with pytest.raises(ValueError, match=words):
        dynvit.reduce(small("deit_tiny_patch16_224"), "mctf", **options)


@pytest.mark.parametrize("options", [{"ahead": 0}, {"ahead": 2}, {"pooling": "size"}, {"bidirection": False}])
def test_every_form_works_on_its_own_image_and_merges_like_tokens_without_a_trace(options):
    trunk = small("vit_small_patch16_224", qk_norm=True, init_values=0.5)
    trunk.pos_embed.data.zero_()
    model = dynvit.reduce(trunk, "mctf", r=5, **options)
    with torch.no_grad():
        alone = torch.cat([model(image[None]) for image in images()])
        assert parity.largest_difference(alone, model(images())) < 1e-12
        flat = torch.ones(2, 3, 32, 32, dtype=torch.float64)
        assert parity.largest_difference(model(flat), trunk(flat)) < 1e-10
        assert not torch.allclose(model(images()), trunk(images()))


def test_all_even_tokens_can_go_in_one_direction():
    model = dynvit.reduce(small("vit_small_patch16_224"), "mctf", r=16, layers=(1, 2, 3), bidirection=False)
    assert model.plan(64)[3] == 16
    with torch.no_grad(), dynvit.trace_tokens(model) as trace:
        assert model(images()).isfinite().all()
    assert trace.active[3].sum(1).eq(32).all() and model.sources.sizes[:, 1:].sum(1).eq(64).all()


def test_tokens_that_nothing_pools_train_as_they_are():
    """There are no features of an image to compare, and each pass would leave another number of tokens."""
    model = dynvit.reduce(small("vit_small_patch16_224", global_pool=""), "mctf", r=4)
    with torch.no_grad():
        assert torch.equal(model.train()(images()), model.eval()(images()))
