"""Ranking "random" of Evo-ViT, on both backbones: the method's cost and counts, a choice that knows no image."""

import pytest
import torch
from small_evo import SIZE, images, mini

import dynvit

BOTH = pytest.mark.parametrize("kind", ["deit", "levit"])


def kept_sets(model, x):
    """The active tokens of each layer that leaves some out, ``[B, n]``."""
    with torch.no_grad(), dynvit.trace_tokens(model) as trace:
        model(x)
    return [active_BN for active_BN in trace.active if not active_BN.all()]


def same_sets(one, other):
    return [torch.equal(a, b) for a, b in zip(one, other, strict=True)]


@BOTH
@pytest.mark.parametrize("selection", ["stage", "layer"])
def test_random_ranking_is_a_control_at_equal_cost(kind, selection):
    """Weights, counts and cost are those of the method; the choice knows nothing of the image."""
    method, model = (mini(kind, ranking=ranking, selection=selection) for ranking in ("class", "random"))
    assert dict(method.state_dict()).keys() == dict(model.state_dict()).keys()
    x = images(kind)
    macs = [dynvit.complexity(m.eval(), x[:1]).macs for m in (method, model)]
    assert torch.equal(*macs)
    ours, chosen = kept_sets(method, x), kept_sets(model, x)
    assert [a.sum(1).tolist() for a in ours] == [a.sum(1).tolist() for a in chosen]
    assert all((active_BN == active_BN[0]).all() for active_BN in chosen) and not any(same_sets(ours, chosen))
    assert all(same_sets(chosen, kept_sets(mini(kind, ranking="random", selection=selection).eval(), -x)))
    assert not torch.equal(chosen[0], chosen[-1])  # another order at another ranking


@BOTH
def test_random_ranking_draws_anew_in_training_from_the_seed(kind):
    model, x, drawn = mini(kind, ranking="random").train(), images(kind), []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(kept_sets(model, x))
    assert all(same_sets(drawn[0], drawn[1])) and not any(same_sets(drawn[1], drawn[2]))
    assert not any(torch.equal(active_BN[0], active_BN[1]) for active_BN in drawn[0])


@BOTH
def test_random_ranking_follows_the_size_of_images(kind):
    size = 2 * SIZE[kind]["img_size"]
    model, same = mini(kind, ranking="random").eval(), mini(kind, ranking="random", img_size=size).eval()
    model.set_input_size(size)
    x = torch.cat([torch.cat([images(kind)] * 2, 2)] * 2, 3)
    assert all(same_sets(kept_sets(model, x), kept_sets(same, x)))
