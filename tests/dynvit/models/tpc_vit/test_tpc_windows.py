"""TPC-ViT's Swin blocks on some tokens: windows, borders, received attention, what patch merging hands on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_tpc_trunks import images, small, trunk

from dynvit import load_trunk, trace_tokens
from dynvit.analysis.importance import importance
from dynvit.layers.token_layout import Masked, Packed
from dynvit.models.tpc_vit.controller import Controller, PropagationState
from dynvit.models.tpc_vit.markov_chain import merged
from dynvit.models.tpc_vit.options import TPCOptions
from dynvit.models.tpc_vit.swin_windows import attention_received, from_windows, into_windows, run_swin_block


def traced(model: Any, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    with torch.no_grad(), trace_tokens(model) as trace:
        return model(x), trace.active


def block_and_tokens(block: int) -> tuple[Any, torch.Tensor, tuple[int, int]]:
    """A block of the second stage (6 x 6 in windows of 4: a border; 1 is shifted) with images for it."""
    model = small("swin")
    x = torch.randn(3, 36, 32, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return model.layers[1].blocks[block], x, (6, 6)


def rows(active_BN: torch.Tensor) -> Packed:
    return Packed(active_BN.reshape(-1).nonzero()[:, 0], len(active_BN))


@pytest.mark.parametrize("number", [0, 1])
def test_windows_of_a_block(number: int) -> None:
    block, x, grid = block_and_tokens(number)
    assert any(block.shift_size) == bool(number)
    assert torch.equal(from_windows(into_windows(x, block, grid), block, grid), x)
    everybody = torch.ones(3, 36, dtype=torch.bool)
    for layout in (Masked(everybody), rows(everybody)):
        out, got = run_swin_block(block, x, grid, layout, everybody, want_attention=True)
        expected = block(x.unflatten(1, grid)).flatten(1, 2)
        torch.testing.assert_close(layout.scatter(x, out), expected, atol=1e-12, rtol=0)
        torch.testing.assert_close(got, attention_received(block, x, grid), atol=1e-12, rtol=0)


@pytest.mark.parametrize("number", [0, 1])
def test_a_paused_token_is_no_key_and_an_image_may_pause_whole(number: int) -> None:
    block, x, grid = block_and_tokens(number)
    active = torch.rand(3, 36, generator=torch.Generator().manual_seed(6)) > 0.5
    active[1] = False
    layouts = (Masked(active), rows(active))
    results = [run_swin_block(block, x, grid, layout, active, want_attention=True) for layout in layouts]
    whole = [layout.scatter(x, out) for layout, (out, _) in zip(layouts, results, strict=True)]
    torch.testing.assert_close(*whole, atol=1e-12, rtol=0)
    torch.testing.assert_close(results[0][1], results[1][1], atol=1e-12, rtol=0)
    other = torch.where(active[..., None], x, torch.randn_like(x))
    for layout in layouts:
        changed = layout.scatter(other, run_swin_block(block, other, grid, layout, active)[0])
        torch.testing.assert_close(changed[active], whole[0][active], atol=1e-12, rtol=0)
        assert torch.equal(changed[~active], other[~active])


def test_received_attention_is_one_on_average() -> None:
    """In windows without a border and a shift: each active query gives away 1."""
    model = small("swin")
    block, grid = model.layers[0].blocks[0], (12, 12)
    x = torch.randn(2, 144, 16, dtype=torch.float64)
    torch.testing.assert_close(attention_received(block, x, grid).sum(1), torch.full((2,), 144.0, dtype=torch.float64))
    active = torch.rand(2, 144) > 0.6
    _, got = run_swin_block(block, x, grid, rows(active), active, want_attention=True)
    torch.testing.assert_close(got.sum(1), active.sum(1).double())
    assert (got[~active] == 0).all()


def test_importance_where_nothing_is_paused_is_that_of_the_trunk() -> None:
    """The instrument sums over queries here, and takes their mean there."""
    options = {"img_size": 16, "depths": (2, 2), "num_heads": (2, 4)}  # grids 8 x 8 and 4 x 4: no border
    reference, x = trunk("swin", **options), images(size=16)
    model = small("swin", pause=False, stabilizer="off", **options)
    load_trunk(model, reference.state_dict())
    for ours, theirs in zip(importance("attention", model, x), importance("attention", reference, x), strict=True):
        torch.testing.assert_close(ours / ours.mean(), theirs / theirs.mean(), atol=1e-12, rtol=0)
    paused, active = small("swin", **options), traced(small("swin", **options), x)[1]
    scores = importance("attention", paused, x)
    assert [s.shape for s in scores] == [a.shape for a in active]
    assert not all(a.all() for a in active)


def test_patch_merging_joins_what_the_chain_remembers() -> None:
    values = torch.arange(9.0).view(1, 1, 9)
    assert merged(values, (3, 3)).tolist() == [[[2.0, 3.5, 6.5, 8.0]]]
    rules = TPCOptions(terminate=True, depth_ema=0.5)
    first, second = Controller(2, 8, rules), Controller(2, 16, rules)
    before = first.start(1, (4, 4), torch.zeros(()))
    first.select(before)
    first.observe(before, torch.randn(1, 16, 8))
    after = second.start(1, (2, 2), torch.zeros(()), before)
    expected = before.broken_BN.view(2, 2, 2, 2).mean((1, 3)).view(1, 4)
    torch.testing.assert_close(after.broken_BN, expected)
    torch.testing.assert_close(after.smooth_BSN[0, 0], before.smooth_BSN[0, 0].view(2, 2, 2, 2).mean((1, 3)).flatten())
    assert (after.pi_BN == 1).all()
    fresh: PropagationState = second.start(1, (2, 2), torch.zeros(()))
    for chain in (after, fresh):
        second.select(chain)
        second.observe(chain, torch.ones(1, 4, 16))
    assert (after.broken_BN > fresh.broken_BN).all()
    assert second.remembers
    assert not Controller(2, 8, TPCOptions()).remembers
