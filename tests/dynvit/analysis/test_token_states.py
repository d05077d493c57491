"""Pauses that look like noise, and the spread of depths: values known in advance, and those of independent pauses."""

import pytest
import torch
from torch import nn

from dynvit.analysis.token_states import isolated_pauses, pause_flips, token_states


class Replay(nn.Module):
    """Records given active tokens, images ``[B, L * N]`` of zeros and ones."""

    def __init__(self, *layers):
        super().__init__()
        self.trace, self.grid, self.layers = None, (2, 3), layers

    def forward(self, x):
        for active_BN in x.split(self.layers, 1):
            self.trace.record(active_BN.bool())


def test_a_pause_is_isolated_if_no_neighbor_pauses():
    active = torch.tensor(
        [[[0, 1, 0], [1, 1, 0], [1, 0, 1]]]
    )  # the corner alone; a column of two; the diagonal one alone
    found = isolated_pauses(active.bool().view(1, 9), (3, 3))
    assert found.view(3, 3).int().tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]
    row = torch.tensor([[0, 1, 1, 0, 1, 0]]).bool()
    assert isolated_pauses(row, (2, 3)).int().tolist() == [[0, 0, 0, 0, 0, 1]]  # 0 stands above 3
    assert isolated_pauses(row, (3, 2)).int().tolist() == [[1, 0, 0, 0, 0, 0]]  # 3 stands above 5


def test_independent_pauses_are_isolated_as_often_as_chance_says():
    active = torch.rand(400, 32 * 32, generator=torch.Generator().manual_seed(0)) < 0.7
    inner = torch.zeros(32, 32, dtype=torch.bool)
    inner[1:-1, 1:-1] = True
    alone, paused = isolated_pauses(active, (32, 32))[:, inner.flatten()], ~active[:, inner.flatten()]
    assert float(alone.sum() / paused.sum()) == pytest.approx(0.7**4, abs=0.005)


def test_a_flip_differs_from_both_neighbors():
    layers = [torch.tensor([[1, 1, 1, 0]]), torch.tensor([[1, 0, 0, 1]]), torch.tensor([[1, 1, 0, 0]])]
    assert [f.int().tolist() for f in pause_flips(layers)] == [[[0, 1, 0, 1]]]
    assert pause_flips([*layers[:2], torch.ones(1, 1)]) == []  # another grid


def test_a_model_is_measured_over_all_batches():
    images = torch.tensor([[1] * 6 + [0, 1, 1, 1, 1, 0] + [1] * 6, [1] * 6 + [0, 0, 0, 1, 1, 1] + [0] * 6]).float()
    found = token_states(Replay(6, 6, 6), images.split(1))
    assert found["isolated_pauses"] == 2 / (2 + 3 + 6)
    assert found["pause_flips"] == 2 / 12
    # depths 2 3 3 3 3 2 and 1 1 1 2 2 2: means 16/6 and 9/6
    assert found["depth_spread_within"] == pytest.approx(((2 / 9) ** 0.5 + 0.5) / 2)
    assert found["depth_spread_between"] == pytest.approx((16 - 9) / 6 / 2**0.5)


def test_without_a_pause_there_is_nothing_to_say_of_pauses():
    assert token_states(Replay(6, 6, 6), [torch.ones(2, 18)]) == {"depth_spread_within": 0, "depth_spread_between": 0}


def test_each_layer_has_its_own_grid():
    class Shrinking(Replay):
        def __init__(self):
            super().__init__(16, 4)
            self.grid = (4, 4)

    coarse = [0, 1, 1, 0]
    found = token_states(Shrinking(), [torch.tensor([[1] * 16 + coarse]).float()])
    assert found["isolated_pauses"] == 1 and "pause_flips" not in found
    assert found["depth_spread_within"] == 0.5
