"""ATC against clustering written out pair by pair; equal distances; sizes."""

import pytest
import torch

import dynvit
from dynvit.reducers.atc import agglomerate

LINKAGES = {"average": lambda pairs: sum(pairs) / len(pairs), "complete": max, "single": min}


def written_out(distance: list[list[float]], clusters: int, linkage: str) -> list[int]:
    """The first token of each one's cluster."""
    groups = [[i] for i in range(len(distance))]
    while len(groups) > clusters:
        pairs = [(a, b) for a in range(len(groups)) for b in range(a + 1, len(groups))]
        between = {(a, b): [distance[i][j] for i in groups[a] for j in groups[b]] for a, b in pairs}
        a, b = min(pairs, key=lambda pair: LINKAGES[linkage](between[pair]))
        groups[a] += groups.pop(b)
    return [min(group) for i in range(len(distance)) for group in groups if i in group]


@pytest.mark.parametrize("linkage", LINKAGES)
@pytest.mark.parametrize("clusters", [1, 2, 5, 11, 13, 14])
def test_clusters_as_written_out(linkage, clusters):
    generator = torch.Generator().manual_seed(clusters)
    unit = torch.nn.functional.normalize(torch.randn(3, 14, 4, dtype=torch.float64, generator=generator), dim=-1)
    distance = 1 - unit @ unit.mT
    ours = agglomerate(distance, clusters, linkage)
    assert ours.tolist() == [written_out(image.tolist(), clusters, linkage) for image in distance]


def test_of_equal_distances_the_pair_met_first_merges():
    distance = torch.ones(1, 6, 6)
    assert agglomerate(distance, 4, "average").tolist() == [[0, 0, 0, 3, 4, 5]]
    assert torch.equal(distance, torch.ones(1, 6, 6)), "the distances are the caller's"


def test_operator_is_sound():
    torch.library.opcheck(agglomerate, (torch.rand(2, 5, 5), 3, "complete"))


@pytest.mark.parametrize("proportional", [True, False])
def test_sizes_are_carried_where_attention_counts_them(small_trunk, proportional):
    model = dynvit.reduce(small_trunk, "atc", keep=(20, 7), locations=(1, 3), proportional=proportional).eval()
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), dynvit.trace_tokens(model):
        model(x)
    if proportional:
        counted = [torch.bincount(tokens, minlength=8).tolist() for tokens in model.sources.token_of_patch]
        assert model.sources.sizes.tolist() == counted
    else:
        assert model.sources.sizes is None


def test_unknown_linkage_names_the_nearest(small_trunk):
    with pytest.raises(ValueError, match=r"linkage must be one of average, complete, single, got 'avrage'.*'average'"):
        dynvit.reduce(small_trunk, "atc", linkage="avrage")
