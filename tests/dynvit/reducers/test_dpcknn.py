"""DPC-KNN against densities and clusters written out for one image, ties included."""

import math

import pytest
import torch

from dynvit.reducers.dpcknn import DPCKNN
from dynvit.reduction.grouping import Places
from dynvit.reduction.stream import Stream


def written_out(distance: list[list[float]], count: int, neighbors: int) -> tuple[list[int], list[int]]:
    """Centres, and the cluster of each token. Among equally dense tokens the first counts as denser."""
    tokens = range(len(distance))
    density = [
        math.exp(-sum(d * d for d in sorted(row)[:neighbors]) / len(sorted(row)[:neighbors])) for row in distance
    ]
    farthest = max(map(max, distance))
    rank = sorted(tokens, key=lambda i: -density[i])
    gap = [min([distance[i][j] for j in rank[: rank.index(i)]], default=farthest) for i in tokens]
    centres = sorted(tokens, key=lambda i: -gap[i] * density[i])[:count]
    near = [min(range(count), key=lambda k: distance[i][centres[k]]) for i in tokens]
    return centres, [centres.index(i) if i in centres else near[i] for i in tokens]


@pytest.mark.parametrize("neighbors", [1, 5, 40])
@pytest.mark.parametrize("prefix", [0, 1, 5])
def test_clusters_as_written_out(neighbors, prefix):
    generator = torch.Generator().manual_seed(neighbors)
    # Whole numbers, so that tokens are equally dense and equally far.
    x = torch.randint(-2, 3, (3, prefix + 15, 4), generator=generator).double()
    method, places = DPCKNN(neighbors=neighbors, equal_weight=True), Places.of(x, prefix, (3, 5), (6,))
    grouping = method.group(Stream(x), None, 6, 0, places)
    means = method.combine(Stream(x), grouping, 0, places).x_BND
    assert torch.equal(means[:, :prefix], x[:, :prefix])
    for b in range(3):
        tokens = x[b, prefix:]
        distance = [[(a - c).square().sum().div(4).sqrt().item() for c in tokens] for a in tokens]
        centres, of = written_out(distance, 6, neighbors)
        assert (grouping.kept_BK[b, prefix:] - prefix).tolist() == centres
        assert (grouping.token_of(prefix + 15)[b, prefix:] - prefix).tolist() == of
        groups = [tokens[[i for i in range(15) if of[i] == k]] for k in range(6)]
        expected = torch.stack([group.sum(0) / (len(group) + 1e-6) for group in groups])
        assert torch.allclose(means[b, prefix:], expected, rtol=0, atol=1e-12)


def test_of_alike_tokens_the_first_are_centres():
    x = torch.ones(2, 9, 4)
    grouping = DPCKNN(equal_weight=True).group(Stream(x), None, 3, 0, Places.of(x, 1, (2, 4), (3,)))
    assert grouping.kept_BK.tolist() == [[0, 1, 2, 3]] * 2


def test_weights_without_a_number_of_neighbors():
    with pytest.raises(ValueError, match="neighbors must be positive, got 0"):
        DPCKNN(neighbors=0)
