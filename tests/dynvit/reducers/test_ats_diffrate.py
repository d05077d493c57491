"""What is special about ATS (numbers of tokens, steps, pooling) and DiffRate (schedules, sizes, refusals)."""

import copy

import pytest
import timm
import torch
from small_deit import SIZE, images, randomize_weights

import dynvit
from dynvit.reducers.ats import pick, steps
from dynvit.reducers.diffrate import SCHEDULES


def trunk(**options):
    return randomize_weights(timm.create_model("vit_tiny_patch16_224", **(SIZE | options))).double().eval()


def uneven(model):
    """Images, two of which have a few strong patches that take most of the steps."""
    x = images(4)
    x[1, :, 8:16, 8:16] *= 12
    x[3, :, :4, :4] *= 30
    return x


@pytest.mark.parametrize("pool", ["token", "avg", "max", "avgmax"])
def test_images_with_fewer_tokens_are_as_alone_and_cost_less(pool):
    model = trunk(global_pool=pool)
    reduced, x = dynvit.reduce(model, "ats", keep=0.8), uneven(model)
    with torch.no_grad(), dynvit.trace_tokens(reduced) as trace:
        logits = reduced(x)
    tokens = trace.active[-1].sum(1)
    assert len(set(tokens.tolist())) > 1
    assert torch.allclose(logits, torch.cat([reduced(image[None]) for image in x]), atol=1e-10)
    macs = dynvit.complexity(reduced, x).macs
    assert macs.argmax() == tokens.argmax() and macs.min() < macs.max()
    for of, image in zip(reduced.sources.token_of_patch, tokens.tolist(), strict=True):
        assert of.max() == image and set(of.tolist()) - {-1} == set(range(image + 1))


def test_steps_are_the_official_doubles():
    """One more than the budget less one where rounding says so."""
    more = [budget for budget in range(2, 64) if steps(budget) == budget]
    assert set(range(2, 64)) - set(more) == {budget for budget in range(2, 64) if steps(budget) == budget - 1}
    assert {27, 34, 35, 36, 42, 47, 48, 51, 55, 56, 58, 60, 63} <= set(more)


def test_sampling_as_written_out():
    score = torch.rand(3, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) ** 6
    score = score / score.sum(1, keepdim=True)
    index, alive = pick(score, 11)
    for image in range(3):
        sums = score[image].cumsum(0).tolist()
        targets = [1 / 24 + n * 2 / 24 for n in range(steps(12))]
        chosen = {min(range(20), key=lambda j: (abs(sums[j] - t), j)) for t in targets}
        real = index[image] if alive is None else index[image][alive[image]]
        assert real.tolist() == sorted(chosen)


def test_a_negative_cosine_takes_nothing_from_a_size():
    model = dynvit.reduce(trunk(depth=3), "diffrate", prune=[65, 65, 65], merge=[3, 3, 3])
    with torch.no_grad(), dynvit.trace_tokens(model):
        assert model(100 * images()).isfinite().all()
    assert model.sources.sizes.min() >= 1


@pytest.mark.parametrize("name", SCHEDULES)
def test_published_schedules_fit_their_images_and_scale_to_others(name):
    model = timm.create_model("deit_tiny_patch16_224", embed_dim=12, num_classes=2)
    plan = dynvit.reduce(model, "diffrate", schedule=name).plan(196)
    expected = [min(pair) - 1 for pair in zip(*SCHEDULES[name], strict=True)]
    assert [kept or 196 for kept in plan][2:] == expected[2:]
    half = timm.create_model("deit_tiny_patch16_224", embed_dim=12, img_size=112)
    assert dynvit.reduce(half, "diffrate", schedule=name).plan(49)[-1] == max(expected[-1] * 49 // 196, 1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"keep": 0.5, "schedule": "deit_s_2.9"}, "not two of them"),
        ({"prune": [65] * 5}, "prune has 5 counts, the model has 12 blocks"),
        ({"merge": [1] * 12}, "merge counts the class token and must leave another, got 1"),
        ({"schedule": "deit_s"}, "did you mean 'deit_s_2.[39]'"),
        ({"keep": 1.5}, r"keep must be a share in \(0, 1\]"),
    ],
)
def test_wrong_options_say_so(options, words):
    with pytest.raises(ValueError, match=words):
        dynvit.reduce(trunk(), "diffrate", **options)


def test_ats_takes_a_batch_without_images_as_the_trunk_does():
    with torch.no_grad():
        assert dynvit.reduce(trunk(), "ats")(images(2)[:0]).shape == trunk()(images(2)[:0]).shape


@pytest.mark.parametrize("keep", [[2], [6], [13], [26], 0.85])
def test_the_plan_is_the_most_that_an_image_keeps(keep):
    """Also where the official rounding samples one token more; what no data is given for is counted at it."""
    reduced = dynvit.reduce(trunk(), "ats", keep=keep, locations=[1] if isinstance(keep, list) else None).float()
    x = torch.randn(16, *images(1).shape[1:])
    with torch.no_grad(), dynvit.trace_tokens(reduced) as trace:
        reduced(x)
    patches, plan = reduced.patch_embed.num_patches, reduced.plan(reduced.patch_embed.num_patches)
    for kept, active in zip(plan, trace.active, strict=True):
        assert active.sum(1).max() <= patches, "what enters a block"
        patches = patches if kept is None else kept
    counted = dynvit.complexity(copy.deepcopy(reduced).to("meta"), x[:1].to("meta")).macs
    assert dynvit.complexity(reduced, x).macs.max() <= counted.max()
