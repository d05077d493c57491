"""K-Medoids against rounds written out for one image; what no fixture covers: equal weights, costs over members."""

import pytest
import torch
from torch import Tensor

import dynvit
from dynvit.reducers.kmedoids import KMedoids, far_apart
from dynvit.reduction.grouping import Places
from dynvit.reduction.stream import Stream


def written_out(x: Tensor, weight: Tensor, centres: list[int], rounds: int, members: bool) -> tuple[list[int], list]:
    """Centres, and the cluster of each token."""
    distance = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")

    def clusters():
        near = [min(range(len(centres)), key=lambda k: distance[i, centres[k]].item()) for i in range(len(x))]
        return [centres.index(i) if i in centres else near[i] for i in range(len(x))]

    for _ in range(rounds):
        of = clusters()
        cost = [
            weight[i] * sum(distance[i, j] for j in range(len(x)) if not members or of[j] == of[i])
            for i in range(len(x))
        ]
        centres = [min((i for i in range(len(x)) if of[i] == k), key=cost.__getitem__) for k in range(len(centres))]
    return centres, clusters()


@pytest.mark.parametrize("prefix", [0, 2])
@pytest.mark.parametrize("rounds", [0, 1, 3])
@pytest.mark.parametrize("cost", ["all", "members"])
@pytest.mark.parametrize("equal_weight", [True, False])
def test_rounds_as_written_out(prefix, rounds, cost, equal_weight):
    generator = torch.Generator().manual_seed(rounds)
    x = torch.randn(2, prefix + 18, 3, dtype=torch.float64, generator=generator)
    weight = torch.rand(2, prefix + 18, dtype=torch.float64, generator=generator)
    places = Places.of(x, prefix, (3, 6), (5,))
    method = KMedoids(rounds=rounds, cost=cost, equal_weight=equal_weight)
    grouping = method.group(Stream(x, carry=weight), None, 5, 0, places)
    for b in range(2):
        tokens = x[b, prefix:]
        w = torch.ones(18) if equal_weight else weight[b, prefix:]
        first = (
            far_apart(torch.cdist(tokens, tokens)[None], 5, 0)[0] if equal_weight else w.argsort(descending=True)[:5]
        )
        centres, of = written_out(tokens, w, first.tolist(), rounds, cost == "members")
        assert (grouping.kept_BK[b, prefix:] - prefix).tolist() == centres
        assert (grouping.token_of(prefix + 18)[b, prefix:] - prefix).tolist() == of
    kept = method.combine(Stream(x), grouping, 0, places).x_BND
    assert torch.equal(kept, x[torch.arange(2)[:, None], grouping.kept_BK])


def test_first_centres_lie_far_apart():
    x = torch.randn(9, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    distance = torch.cdist(x, x)
    first, *others = far_apart(distance[None], 4, seed=0)[0].tolist()
    chosen = [first]
    for i in others:
        assert i == max(range(9), key=lambda j: distance[j, chosen].min().item())
        chosen.append(i)
    assert len({far_apart(distance[None], 1, seed)[0].item() for seed in range(20)}) > 3
    alike = far_apart(torch.zeros(1, 9, 9), 9, seed=0)
    assert alike.sort()[0].tolist() == [list(range(9))], "each once, though all are alike"


def test_first_block_has_no_attention_to_go_by(small_trunk):
    with pytest.raises(ValueError, match="locations must be blocks of this model, 1 to 5, got 0"):
        dynvit.reduce(small_trunk, "kmedoids", locations=(0, 2))
    dynvit.reduce(small_trunk, "kmedoids", locations=(0, 2), equal_weight=True)
