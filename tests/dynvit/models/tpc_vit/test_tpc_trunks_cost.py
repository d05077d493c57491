"""What TPC-ViT costs on LV-ViT and Swin: the specification's numbers, and what each image's tokens need."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from small_tpc_trunks import controllers, first_layers, images, small, trunk

from dynvit import trace_tokens
from dynvit.macs import complexity, parameters
from dynvit.models.tpc_vit.swin_windows import into_windows

BOTH = pytest.mark.parametrize("kind", ["lvvit", "swin"])
LV_COST = {
    "tpc_lvvit_small": (26_151_824 + 61_440 + 32, 6_551_485_440 + 10_838_016),
    "tpc_lvvit_medium": (55_830_544 + 102_400 + 40, 12_678_045_696 + 18_063_360),
}
SWIN_ADDED = {"tiny": (44_160, 24, 12_870_144), "small": (90_240, 48, 20_998_656), "base": (120_320, 48, 27_998_208)}
CONSTANT = {"score_scale": 0.0}  # untrained, channel 0 is noise; the spec's constant start


@pytest.mark.parametrize("name", sorted(LV_COST))
def test_exact_cost_of_lv_vit(name: str) -> None:
    with torch.device("meta"):
        dense = timm.create_model(name, pause=False)
        model = timm.create_model(name)
    params, macs = LV_COST[name]
    assert parameters(model) == params
    cost = complexity(dense, torch.empty(1, 3, 224, 224, device="meta"))
    assert cost.macs.tolist() == [macs]
    assert params - cost.params == 2 * len(model.blocks)


@pytest.mark.parametrize("size", sorted(SWIN_ADDED))
def test_exact_cost_of_swin(size: str) -> None:
    name, x = f"swin_{size}_patch4_window7_224", torch.empty(1, 3, 224, 224, device="meta")
    stabilizer, shifts, macs = SWIN_ADDED[size]
    with torch.device("meta"):
        trunk_alone, stable = timm.create_model(name), timm.create_model(f"tpc_{name}", pause=False)
        model = timm.create_model(f"tpc_{name}")
    theirs, dense = complexity(trunk_alone, x), complexity(stable, x)
    assert parameters(model) == theirs.params + stabilizer + shifts
    assert dense.params == theirs.params + stabilizer
    assert dense.macs.tolist() == [theirs.macs.item() + macs]


@BOTH
def test_a_fresh_model_costs_the_trunk_and_its_stabilizer(kind: str) -> None:
    """The controller reads, blurs and decides, and no product of it counts; at its start it pauses nothing."""
    fresh = {"pause_offset": -3.0, "restart_offset": 0.0, **CONSTANT}
    model, x = small(kind, **fresh), images(2)
    for controller in controllers(model):
        torch.nn.init.zeros_(controller.restart_shift)
    with trace_tokens(model) as trace:
        model(x)
    assert all(a.all() for a in trace.active)
    assert torch.equal(complexity(model, x).macs, complexity(small(kind, pause=False), x).macs)


@pytest.mark.parametrize("stabilizer", ["off", "dw_pre", "dw_mlp", "peg_once"])
def test_lv_vit_counts_the_active_tokens_of_each_image(stabilizer: str) -> None:
    model, x = small("lvvit", stabilizer=stabilizer), images()
    with torch.no_grad(), trace_tokens(model) as trace:
        model(x)
    C, N = 32, 36
    whole = {"off": 0, "dw_pre": 6 * 9 * C * N, "dw_mlp": 6 * 9 * 3 * C * N, "peg_once": 9 * C * N}[stabilizer]
    tokens = torch.stack(trace.active).sum(2).double() + 1
    blocks = (10 * C * C * tokens + 2 * C * tokens**2).sum(0)
    stem = complexity(trunk("lvvit"), x[:1]).macs - 6 * (10 * C * C * 37 + 2 * C * 37**2)
    assert torch.equal(complexity(model, x).macs, blocks + whole + stem)
    assert len(set(blocks.tolist())) > 1


@pytest.mark.parametrize("options", [{}, {"keep_rate": 0.1, "restart": False}], ids=str)
def test_swin_counts_active_tokens_and_windows_that_have_any(options: dict[str, Any]) -> None:
    model, x = small("swin", **options), images()
    with torch.no_grad(), trace_tokens(model) as trace:
        model(x)
    blocks = [block for stage in model.layers for block in stage.blocks]
    grids = [(12, 12)] * 2 + [(6, 6)] * 3 + [(3, 3)] * 2
    expected, skipped = torch.zeros(4, dtype=torch.float64), 0
    reference = complexity(trunk("swin"), x[:1]).macs
    for layer, (block, grid, active_BN) in enumerate(zip(blocks, grids, trace.active, strict=True)):
        C, area, N = block.dim, block.window_area, active_BN.shape[1]
        windows = into_windows(active_BN[..., None], block, grid)[..., 0]
        used_B = windows.any(1).view(4, -1).sum(1)
        places = windows.shape[0] // 4 * area
        dense = (3 * places + 9 * N) * C * C + 2 * places * area * C  # the trunk projects the border too
        reference = reference - ((3 + 1) * places + 8 * N) * C * C - 2 * places * area * C
        if layer in first_layers("swin"):
            expected += dense + (places - N) * C * C
        else:
            expected += 12 * C * C * active_BN.sum(1) + 2 * area**2 * C * used_B
            skipped += int((windows.shape[0] // 4 - used_B).sum())
        expected += 9 * C * N
    assert torch.equal(complexity(model, x).macs, expected + reference)
    assert (skipped > 0) == bool(options)
