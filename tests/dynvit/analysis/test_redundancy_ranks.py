"""Rankings and comebacks: exact values, ties, chance."""

import pytest
import torch
from scipy.stats import spearmanr

from dynvit.analysis.layer_pairs import LayerPairs
from dynvit.analysis.rank_statistics import average_ranks, highest, lowest, rank_correlation
from dynvit.analysis.token_reactivation import by_chance, reactivated_share, share_in, share_in_any

UP = torch.arange(10.0).repeat(2, 1)


def test_equal_and_reversed_rankings():
    for other, correlation, returned, survival in ((UP * 3 - 7, 1, 0, 1), (UP.flip(1), -1, 1, 0)):
        assert rank_correlation(UP, other).tolist() == pytest.approx([correlation] * 2, abs=1e-15)
        assert share_in(lowest(UP, 0.3), highest(other, 0.3)).tolist() == pytest.approx([returned] * 2)
        assert share_in(highest(UP, 0.3), highest(other, 0.3)).tolist() == pytest.approx([survival] * 2)


def test_ranks_of_ties_are_averaged():
    assert average_ranks(torch.tensor([[3.0, 1.0, 1.0, -torch.inf, 3.0, 3.0]])).tolist() == [[5, 2.5, 2.5, 1, 5, 5]]


def test_correlation_is_scipys():
    generator = torch.Generator().manual_seed(0)
    one = torch.randint(0, 6, (5, 30), generator=generator).float()
    other = one + torch.randint(0, 8, (5, 30), generator=generator)
    expected = [spearmanr(a, b).statistic for a, b in zip(one.numpy(), other.numpy(), strict=True)]
    assert rank_correlation(one, other).tolist() == pytest.approx(expected, abs=1e-12)


def test_a_ranking_of_nothing_but_ties_has_no_correlation():
    assert rank_correlation(torch.ones(1, 4), torch.arange(4.0)[None]).isnan().all()


def test_a_border_through_ties_takes_each_in_part():
    scores = torch.tensor([[0.0, 1, 1, 1, 1, 2, 2, 2, 2, 9]])
    assert lowest(scores, 0.3).tolist() == [pytest.approx([1, 0.5, 0.5, 0.5, 0.5, 0, 0, 0, 0, 0])]
    assert highest(scores, 0.3).tolist() == [pytest.approx([0, 0, 0, 0, 0, 0.5, 0.5, 0.5, 0.5, 1])]
    ties = torch.zeros(1, 10)  # as breaking them at random: 30 % of any three are among any other three
    assert share_in(lowest(ties, 0.3), highest(ties, 0.3)).item() == pytest.approx(0.3)


@pytest.mark.parametrize("tokens", [1, 2, 7, 36, 196])
def test_sets_have_their_size_and_do_not_meet(tokens):
    scores = torch.randint(0, 9, (4, tokens), generator=torch.Generator().manual_seed(tokens)).float()
    distinct = torch.arange(float(tokens))[None]
    assert tokens == 1 or share_in(lowest(distinct, 0.3), highest(distinct, 0.3)) == 0
    for members in (lowest(scores, 0.3), highest(scores, 0.3)):
        assert members.sum(1).tolist() == pytest.approx([0.3 * tokens] * 4)


@pytest.mark.parametrize("share", [0.0, 0.51, -1.0])
def test_sets_that_could_meet_are_refused(share):
    with pytest.raises(ValueError, match="share"):
        lowest(UP, share)


def test_ever_counts_a_token_once():
    first = torch.tensor([[True, True, True, False]])
    others = [torch.tensor([[True, False, False, True]]), torch.tensor([[True, True, False, True]])]
    assert share_in_any(first, others).item() == pytest.approx(2 / 3)
    assert share_in(torch.zeros(1, 4), others[0]).isnan().all()


def test_independent_rankings_come_back_as_often_as_chance_says():
    generator, movement = torch.Generator().manual_seed(1), LayerPairs(0.3)
    movement.add([torch.rand(400, 25, generator=generator) for _ in range(4)])
    found = movement.summary()
    assert found["rank_correlation"] == pytest.approx(0, abs=0.01)
    assert found["returned"] == pytest.approx(0.3, abs=0.01)
    assert found["survival"] == pytest.approx(0.3, abs=0.01)
    assert found["returned_by_chance"] == by_chance(0.3, 4) == pytest.approx((0.3 + 0.51 + 0.657) / 3)
    assert found["returned_ever"] == pytest.approx(found["returned_by_chance"], abs=0.01)


def test_two_views_of_a_layer_are_compared_with_each_other_alone():
    pairs = LayerPairs(0.3)
    pairs.add_views([UP, None, UP], [UP, UP, UP.flip(1)])
    assert pairs.summary() == pytest.approx({
        "rank_correlation_same_layer": 0, "returned_same_layer": 0.5, "survival_same_layer": 0.5,
    })  # fmt: skip


def test_restarts_are_of_those_that_paused():
    active = torch.tensor([
        [[1, 1, 1, 1], [1, 0, 0, 1], [1, 1, 0, 0]],  # tokens 1, 2, 3 pause; token 1 comes back
        [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]],
        [[0, 1, 1, 1], [1, 1, 1, 1], [0, 1, 1, 1]],  # back once, although it pauses again
    ]).bool()  # fmt: skip
    found = reactivated_share(list(active.transpose(0, 1)))
    assert found[0].item() == pytest.approx(1 / 3)
    assert found[1].isnan()
    assert found[2] == 1


def test_movement_by_pair_of_layers():
    movement = LayerPairs(0.3)
    for _ in range(2):  # batches
        movement.add([UP, None, UP.flip(1), UP])
    assert movement.pairs("rank_correlation") == pytest.approx({(0, 2): -1, (0, 3): 1, (2, 3): -1})
    assert movement.pairs("returned") == pytest.approx({(0, 2): 1, (0, 3): 0, (2, 3): 1})
    assert movement.pairs("survival") == pytest.approx({(0, 2): 0, (0, 3): 1, (2, 3): 0})
    assert movement.summary()["returned_ever"] == pytest.approx(1)
    constant = LayerPairs()
    constant.add([torch.ones(2, 10), UP])
    assert constant.pairs("rank_correlation") == {}
    assert "rank_correlation" not in constant.summary()


def test_grids_meet_on_the_coarser_one():
    fine = torch.arange(16.0).view(1, 4, 4)
    coarse = torch.nn.functional.avg_pool2d(fine, 2)
    movement = LayerPairs()
    movement.add([fine.flatten(1), coarse.flatten(1), -coarse.flatten(1)])
    assert movement.pairs("rank_correlation") == pytest.approx({(0, 1): 1, (0, 2): -1, (1, 2): -1})
    assert "returned_ever" not in movement.summary()
    with pytest.raises(ValueError, match="grid of 12 tokens"):
        LayerPairs().add([torch.rand(1, 12), torch.rand(1, 4)])
