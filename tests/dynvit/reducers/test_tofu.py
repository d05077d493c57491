"""ToFu's two norms and its merge, written out token by token."""

import pytest
import timm
import torch
from small_deit import SIZE, small

import dynvit
from dynvit.reduction.grouping import Places
from dynvit.reduction.reducer import make_reducer
from dynvit.reduction.signals import Signals
from dynvit.reduction.stream import Stream


@pytest.mark.parametrize("norm", ["paper", "rewrite"])
@pytest.mark.parametrize("prefix", [0, 1, 2, 5])
def test_merge_as_written_out(norm, prefix):
    generator = torch.Generator().manual_seed(prefix)
    x, keys = (torch.randn(2, prefix + 12, 4, dtype=torch.float64, generator=generator) for _ in range(2))
    tofu, places = make_reducer("tofu", {"norm": norm}), Places.of(x, prefix, (3, 4), (None,) * 6, None)
    signals = Signals(keys[:, None], keys[:, None], keys[:, None], None)
    grouping = tofu.group(Stream(x), signals, 7, 0, places)
    pruned, merged = (tofu.combine(Stream(x), grouping, block, places).x_BND for block in (3, 4))
    for b in range(2):
        unit = keys[b] / keys[b].norm(dim=1, keepdim=True)
        even, odd = (list(range(first, prefix + 12, 2)) for first in places.parity())
        best = {i: max(odd, key=lambda j: (unit[i] @ unit[j]).item()) for i in even}
        gone = sorted(even, key=lambda i: -(unit[i] @ unit[best[i]]).item())[:5]
        groups = [[i] for i in (*range(prefix), *(i for i in even if i not in gone))]
        groups += [[j, *(i for i in gone if best[i] == j)] for j in odd]
        assert torch.equal(pruned[b], x[b, [group[0] for group in groups]])
        for c, group in enumerate(groups):
            mean = sum(x[b, i] for i in group) / len(group)
            length = mean.norm() if norm == "paper" else x[b, group[0]].norm()
            assert torch.allclose(merged[b, c], mean * max(x[b, i].norm() for i in group) / length, atol=1e-12)


def test_tokens_that_cancel_out_stay_finite():
    x = torch.tensor([[[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]], requires_grad=True)
    tofu, places = make_reducer("tofu", {}), Places.of(x, 0, (2, 2), (None,), None)
    signals = Signals(*[x.detach().abs()[:, None]] * 3, None)
    for block in (0, 1):
        y = tofu.combine(Stream(x), tofu.group(Stream(x), signals, 2, 0, places), block, places).x_BND
        y.sum().backward()
        assert y.isfinite().all() and x.grad.isfinite().all()


def test_the_ratio_counts_prefix_tokens_and_no_more_than_half_of_the_patches_can_go():
    assert make_reducer("tofu", {"ratio": 0.9}).plan(64, 1, 3) == (58, 53, 48)
    assert make_reducer("tofu", {"ratio": 0.5}).plan(5, 5, 4) == (3, 2, 1, 1)
    trunk = timm.create_model("vit_small_patch14_reg4_dinov2", **SIZE).eval()
    assert dynvit.reduce(trunk, "tofu", ratio=0.5)(torch.randn(1, 3, 32, 32)).isfinite().all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ratio": 0.4}, r"ratio must lie in \[0.5, 1\], got 0.4"),
        ({"norm": "papr"}, "norm must be one of paper, rewrite, got 'papr'; did you mean 'paper'"),
    ],
)
def test_wrong_options_say_so(options, words):
    with pytest.raises(ValueError, match=words):
        dynvit.reduce(small("deit_tiny_patch16_224"), "tofu", **options)
