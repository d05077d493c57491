"""Parameters and multiply-accumulates of SReT: published rows, ablations, parts."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch

from dynvit import complexity

NONE = ((1, 1), (1, 1), (1, 1))
COARSE = ((16, 1), (14, 1), (1, 1))

PUBLISHED = [
    ("sret_tiny", {}, 4_755_979, 1_112_444_672),
    ("sret_large_tiny", {}, 4_988_024, 1_164_477_184),
    ("sret_large_tiny", {"groups": COARSE}, 4_988_024, 1_224_537_856),
    ("sret_small", {}, 20_899_692, 4_172_819_112),
    ("sret_tiny_noslice", {}, 4_755_979, 1_365_682_944),
    ("sret_large_tiny_noslice", {}, 4_988_024, 1_417_715_456),
    ("sret_small_noslice", {}, 20_899_692, 4_671_381_960),
    ("sret_tiny_noslice", {"img_size": 384}, 4_853_259, 6_408_361_984),
    ("sret_small_noslice", {"img_size": 384}, 21_091_212, 18_443_154_240),
    ("sret_small_noslice", {"img_size": 512}, 21_317_004, 42_671_708_352),
]

ABLATION = [
    ({"recursion": 1, "groups": NONE}, 4_176_375, 0.732),
    ({"recursion": 3, "groups": NONE}, 5_335_583, 2.000),
    ({"recursion": 1, "depth": (4, 10, 6), "groups": NONE}, 7_984_582, 1.366),
    ({"groups": ((2, 1), (1, 1), (1, 1))}, 4_755_979, 1.287),
    ({"groups": ((4, 1), (2, 1), (1, 1))}, 4_755_979, 1.223),
    ({"groups": ((8, 1), (4, 1), (1, 1))}, 4_755_979, 1.191),
    ({"groups": ((8, 8), (4, 4), (1, 1))}, 4_755_979, 1.017),
    ({"groups": COARSE}, 4_755_979, 1.173),
    ({"groups": ((16, 4), (7, 2), (1, 1))}, 4_755_979, 1.033),
    ({"recursion": 1}, 4_176_375, 0.557),
    ({"recursion": 3}, 5_335_583, 1.668),
]


def cost(name: str, device: str = "meta", **options: Any) -> tuple[int, float]:
    """On the meta device the same operators run, on shapes alone."""
    size = options.get("img_size", 224)
    with torch.device(device):
        model, images = timm.create_model(name, **options), torch.zeros(2, 3, size, size)
    result = complexity(model, images)
    assert result.macs[0] == result.macs[1]
    return result.params, result.macs[0].item()


@pytest.mark.parametrize(("name", "options", "params", "macs"), PUBLISHED)
def test_published_models(name: str, options: dict[str, Any], params: int, macs: int) -> None:
    assert cost(name, **options) == (params, macs)


def test_counted_on_real_images_too() -> None:
    assert cost("sret_tiny", device="cpu") == (4_755_979, 1_112_444_672)


@pytest.mark.parametrize(("options", "params", "gmacs"), ABLATION)
def test_ablations(options: dict[str, Any], params: int, gmacs: float) -> None:
    counted, macs = cost("sret_tiny", **options)
    assert counted == params
    assert macs / 1e9 == pytest.approx(gmacs, abs=1e-3)


def test_parts_of_the_tiny_model() -> None:
    model = timm.create_model("sret_tiny")

    def count(module: torch.nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    nlls = [sum(count(block.nlls) for block in stage.blocks) for stage in model.stages]
    blocks = [count(stage) - n for stage, n in zip(model.stages, nlls, strict=True)]
    scalars = [p for name, p in model.named_parameters() if "residual" in name]
    assert sum(p.numel() for p in scalars) == 80
    of_nlls = [4, 10, 6]  # two scalars in each
    of_blocks = [2, 5, 3]  # four scalars in each
    assert [n - 2 * k for n, k in zip(nlls, of_nlls, strict=True)] == [33_792, 332_800, 792_576]
    assert [n - 4 * k for n, k in zip(blocks, of_blocks, strict=True)] == [93_260, 924_540, 2_210_763]
    assert (count(model.stem), model.pos_embed.numel(), count(model.pools)) == (56_640, 50_176, 3_840)
    assert (count(model.norm), count(model.head)) == (512, 257_000)


def test_folding_leaves_the_cost() -> None:
    model = timm.create_model("sret_tiny", img_size=64)
    images = torch.zeros(1, 3, 64, 64)
    folded = complexity(model.fuse(), images)
    assert folded.macs == complexity(model, images).macs
    assert complexity(model, images).params - folded.params == 80 + 2 * (32 + 64 + 64)
