"""SReT by itself: identities, permutations, options, errors."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor

import dynvit
from dynvit.models.sret.attention import group_attention
from dynvit.models.sret.geometry import nearest_divisors, plan_drop_path
from dynvit.models.sret.permutation import inverse_order

MINI = {"img_size": 64, "base_dim": 8, "heads": (1, 2, 4), "num_classes": 10}
NONE = [[1], [1], [1]]


def mini(name: str = "sret_tiny", **options: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    return timm.create_model(name, **(MINI | options)).eval()


def images(batch: int = 2, size: int = 64, channels: int = 3) -> Tensor:
    return torch.randn(batch, channels, size, size, generator=torch.Generator().manual_seed(1))


def plain_attention(qkv_BNE: Tensor, heads: int) -> Tensor:
    b, n, e = qkv_BNE.shape
    q, k, v = qkv_BNE.reshape(b, n, 3, heads, e // 3 // heads).permute(2, 0, 3, 1, 4)
    weights = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1)
    return (weights @ v).transpose(1, 2).reshape(b, n, e // 3)


def test_names() -> None:
    sizes = ("tiny", "large_tiny", "small")
    assert dynvit.list_models("sret") == sorted(f"sret_{size}{s}" for size in sizes for s in ("", "_noslice"))


@pytest.mark.parametrize("groups", [1, 4])
def test_group_attention_is_plain_attention_in_every_run(groups: int) -> None:
    qkv_BNE = torch.randn(3, 20, 3 * 2 * 6)
    runs = [plain_attention(run, 2) for run in qkv_BNE.split(20 // groups, 1)]
    out_BNC = group_attention(qkv_BNE, heads=2, groups=groups, scale=6**-0.5)
    torch.testing.assert_close(out_BNC, torch.cat(runs, 1), atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", ["tiny", "large_tiny", "small"])
def test_one_group_is_noslice_bit_for_bit(size: str) -> None:
    sliced, plain = mini(f"sret_{size}", groups=NONE), mini(f"sret_{size}_noslice")
    plain.load_state_dict(sliced.state_dict())
    assert torch.equal(sliced(images()), plain(images()))


def test_evaluation_is_deterministic_and_training_draws_anew() -> None:
    model = mini()
    assert torch.equal(model(images()), model(images()))
    assert torch.equal(model(images()), mini()(images()))
    model.train()
    draws = [model.permuter(0, 64) for _ in range(3)]
    assert all(torch.equal(draw.sort().values, torch.arange(64)) for draw in draws)
    assert not torch.equal(draws[0], draws[1])
    assert draws[0].dtype == torch.int64


def test_default_permutations_differ_by_number_and_invert() -> None:
    permuter = mini().permuter
    first, second, other = permuter(0, 64), permuter(1, 64), permuter(7, 30)
    assert not torch.equal(first, second)
    assert torch.equal(other.sort().values, torch.arange(30))
    assert torch.equal(first[inverse_order(first)], torch.arange(64))


def test_permuter_is_asked_once_per_sliced_later_pass() -> None:
    asked = []

    def permuter(k: int, n: int) -> Tensor:
        asked.append((k, n))
        return torch.arange(n)

    model = mini(recursion=3, groups=[[8, 2], [4, 1, 2], [1, 1]])
    model.permuter = permuter
    for _ in range(2):
        asked.clear()
        model(images())
        assert asked == [*[(k, 64) for k in range(4)], *[(k, 16) for k in range(4, 9)]]
    model.permuter = None
    assert model.permuter is model.seeded


def test_permutation_mixes_slices() -> None:
    """With slices and no permutation a token of one slice never hears of another slice in stage 1."""
    stage = mini(groups=[[2, 2], [1, 1], [1, 1]]).stages[0]
    x = torch.randn(1, 64, 8)
    y = x.clone()
    y[:, 40] += torch.randn(8)
    for permuter, heard in ((lambda k, n: torch.arange(n), False), (mini().permuter, True)):
        difference = (stage(x, permuter, 0) - stage(y, permuter, 0))[:, :32].abs().max().item()
        assert (difference > 1e-4) is heard


@pytest.mark.parametrize("options", [{}, {"learn_scales": False}, {"nll": "shared"}, {"base_dim": 6}])
def test_folded_equals_unfolded(options: dict[str, Any]) -> None:
    model = mini(**options).double()
    for name, tensor in model.state_dict().items():
        if name.endswith(("skip", "branch", "running_mean", "running_var", "bn.weight", "bn.bias")):
            tensor.uniform_(0.5, 1.5)
    before = copy.deepcopy(model.state_dict())
    x = images().double()
    folded = model.fuse()
    torch.testing.assert_close(folded(x), model(x), atol=1e-9, rtol=0)
    torch.testing.assert_close(folded.fuse()(x), model(x), atol=1e-9, rtol=0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(p.requires_grad for p in folded.parameters())


def test_a_batch_equals_its_images_one_by_one() -> None:
    model, x = mini().double(), images(3).double()
    torch.testing.assert_close(model(x), torch.cat([model(image) for image in x.split(1)]), atol=1e-12, rtol=0)


def test_masked_equals_gathered() -> None:
    model = mini()
    model.set_execution("masked")
    masked = model(images())
    model.set_execution("gathered")
    assert torch.equal(masked, model(images()))
    with pytest.raises(ValueError, match="execution"):
        model.set_execution("fast")


@pytest.mark.parametrize("recursion", [1, 2, 3, 5])
def test_recursion_keeps_the_unique_blocks(recursion: int) -> None:
    model = mini(recursion=recursion)
    assert [len(stage.blocks) for stage in model.stages] == [2, 5, 3]
    with dynvit.trace_tokens(model) as trace:
        model(images())
    assert len(trace.active) == 10 * recursion
    assert trace.depth.shape == (2, 64)
    assert (trace.depth == 10 * recursion).all()


def test_unique_blocks() -> None:
    model = mini(unique=[1, 2, 1], recursion=3)
    assert [(len(stage.blocks), stage.depth) for stage in model.stages] == [(1, 3), (2, 6), (1, 3)]
    with pytest.raises(ValueError, match="unique must be three"):
        mini(unique=[1, 2])


def test_group_lists_repeat_and_cut() -> None:
    model = mini(recursion=3, groups=[[8, 2], [4], [1, 1, 1, 1, 7]])
    assert [stage.groups for stage in model.stages] == [(8, 2, 2), (4, 4, 4), (1, 1, 1)]


def test_unshared_blocks() -> None:
    model = mini(recursion=1, depth=(4, 10, 6))
    assert [len(stage.blocks) for stage in model.stages] == [4, 10, 6]
    assert model(images()).shape == (2, 10)


def test_nlls_own_shared_none() -> None:
    count = {nll: sum("nlls" in n for n, _ in mini(nll=nll).named_parameters()) for nll in (True, "shared", False)}
    assert count == {True: 160, "shared": 80, False: 0}
    assert mini(nll="shared", learn_scales=False)(images()).shape == (2, 10)


def test_scales_of_one() -> None:
    fixed, learned = mini(learn_scales=False), mini()
    assert not any(name.endswith(("skip", "branch")) for name, _ in fixed.named_parameters())
    fixed.load_state_dict({k: v for k, v in learned.state_dict().items() if not k.endswith(("skip", "branch"))})
    torch.testing.assert_close(fixed(images()), learned(images()), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("size", "strides", "grids"),
    [
        (16, (2, 1, 1), [8, 4, 2]),
        (16, (1, 1, 1), [16, 8, 4]),
        (16, (2, 2, 1), [4, 2, 1]),
        (32, (2, 2, 2), [4, 2, 1]),
        (32, [1, 2, 2], [8, 4, 2]),
    ],
)
def test_small_images(size: int, strides: tuple[int, ...], grids: list[int]) -> None:
    model = mini(img_size=size, in_chans=1, stem_strides=strides, groups=[[4, 2], [4, 1], [1, 1]]).train()
    assert [stage.grid for stage in model.stages] == [(n, n) for n in grids]
    logits_BK = model(images(4, size, 1))
    F.cross_entropy(logits_BK, torch.arange(4)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_images_that_are_not_square() -> None:
    model = mini(img_size=(64, 96))
    assert model(torch.randn(1, 3, 64, 96)).shape == (1, 10)
    with pytest.raises(ValueError, match=r"\(96, 64\), but the model was built for 64 x 96"):
        model(torch.randn(1, 3, 96, 64))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"img_size": 100}, "img_size 100 must be a multiple of 32"),
        ({"img_size": 224, "groups": [[8, 2], [8, 1], [1, 1]]}, "stage 2, pass 1: 8 .* 196 tokens .*: 7 and 14"),
        ({"groups": [[8, 3], [4, 1], [1, 1]]}, "stage 1, pass 2: 3 does not divide the 64 tokens .*: 2 and 4"),
        ({"groups": [[99], [1], [1]]}, "99 does not divide the 64 tokens .*: 64"),
        ({"groups": [[8, 2], [4, 1]]}, r"one entry per stage \(3\)"),
        ({"groups": [[8, 0], [4, 1], [1, 1]]}, "whole numbers of at least 1"),
        ({"groups": [[], [4, 1], [1, 1]]}, "whole numbers of at least 1"),
        ({"recursion": 0}, "recursion must be"),
        ({"recursion": 3, "depth": (4, 10, 6)}, "three multiples of the recursion 3"),
        ({"depth": (4, 10)}, "three multiples"),
        ({"stem_strides": (2, 2)}, "stem_strides"),
        ({"stem_strides": (3, 2, 2)}, "stem_strides"),
        ({"heads": (1, 2)}, "heads must be three"),
        ({"heads": (2, 3, 4)}, "multiple of the stage before"),
        ({"nll": "own"}, "nll must be"),
        ({"nll_ratio": 0.01}, "too small"),
        ({"drop_path_rate": 1.0}, r"\[0, 1\)"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mini(**options)


def test_wrong_image_size() -> None:
    with pytest.raises(ValueError, match=r"image size \(32, 32\), but the model was built for 64 x 64"):
        mini()(images(size=32))


def test_nearest_divisors() -> None:
    assert nearest_divisors(196, 8) == [7, 14]
    assert nearest_divisors(49, 8) == [7, 49]
    assert nearest_divisors(12, 4) == [4]


def test_drop_path_rates() -> None:
    rates = plan_drop_path(0.1, [4, 10, 6], 2)
    expected = [[0, 0.005], [0.02, 0.025, 0.03, 0.035, 0.04], [0.07, 0.075, 0.08]]
    assert [pytest.approx(stage) for stage in expected] == rates
    model = mini(drop_path_rate=0.1)
    block = model.stages[2].blocks[1]
    assert (block.attention.residual.drop_path_rate, block.mlp.residual.drop_path_rate) == (0.075, 0.075)
    assert all(nll.residual.drop_path_rate == 0 for nll in block.nlls)


def test_drop_path_is_random_in_training_only() -> None:
    model = mini(drop_path_rate=0.9, groups=NONE)
    assert torch.equal(model(images()), mini(groups=NONE)(images()))
    model.train()
    torch.manual_seed(0)
    first = model(images(8))
    assert not torch.equal(first, model(images(8)))
