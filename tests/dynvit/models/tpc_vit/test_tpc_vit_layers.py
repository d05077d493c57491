"""The parts of the token propagation controller: chain, gate, smoothing, prior, stabilizer, block layouts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models.vision_transformer import Block

from dynvit.layers.attention import full_cls_attention
from dynvit.layers.block import run_block_on_grid
from dynvit.layers.token_layout import Dense, Gathered, Masked, Packed
from dynvit.models.tpc_vit.controller import Controller
from dynvit.models.tpc_vit.markov_chain import advance, break_probability, gate, index_to_mask, topk_indices, topk_mask
from dynvit.models.tpc_vit.options import TPCOptions
from dynvit.models.tpc_vit.smoothing import Blur, depth_target, prior_loss
from dynvit.models.tpc_vit.stabilizer import GridConv, stabilizer

PROBABILITY = st.floats(0, 1)


@given(st.lists(st.tuples(PROBABILITY, PROBABILITY), min_size=1, max_size=24))
@settings(max_examples=60)
def test_pi_stays_a_probability(steps: list[tuple[float, float]]) -> None:
    pi = torch.ones((), dtype=torch.float64)
    for p, r in steps:
        r_ = torch.tensor(r, dtype=torch.float64)
        pi = advance(pi, break_probability(torch.tensor(p, dtype=torch.float64), r_), r_)
        assert -1e-15 <= pi <= 1 + 1e-15


def test_sure_restart_never_breaks_and_no_restart_never_grows() -> None:
    p, one, pi = torch.rand(50), torch.ones(50), torch.rand(50)
    assert torch.equal(break_probability(p, one), torch.zeros(50))
    assert torch.equal(advance(torch.ones(50), break_probability(p, one), one), torch.ones(50))
    assert (advance(pi, break_probability(p, 0 * one), 0 * one) <= pi).all()


def test_constant_probabilities_converge() -> None:
    p, r = torch.tensor([0.3, 0.9, 0.05], dtype=torch.float64), torch.tensor([0.2, 0.1, 0.6], dtype=torch.float64)
    b, pi = break_probability(p, r), torch.ones(3, dtype=torch.float64)
    for _ in range(300):
        pi = advance(pi, b, r)
    torch.testing.assert_close(pi, r / (b + r), atol=1e-12, rtol=0)


def test_default_start_pauses_nothing() -> None:
    """The numbers of the specification for p = sigmoid(-3), r = 1/2."""
    p, r, pi = torch.tensor(-3.0).sigmoid(), torch.tensor(0.5), torch.tensor(1.0)
    pis = []
    for _ in range(12):
        pis.append(pi.item())
        pi = advance(pi, break_probability(p, r), r)
    assert pis[:3] == pytest.approx([1, 0.97629, 0.96499], abs=5e-6)
    assert pis[11] == pytest.approx(0.95473, abs=5e-6)


def test_gate_selects_bits_and_passes_the_gradient_straight_through() -> None:
    x, y = torch.randn(2, 2, 5, 3)[:, :, :, :].unbind(0)
    x, y = x.requires_grad_(), y.requires_grad_()
    pi = torch.rand(2, 5, requires_grad=True)
    active = pi.detach() > 0.5
    out = gate(x, y, active, pi)
    assert torch.equal(out, torch.where(active[..., None], y, x))
    gradient = torch.randn_like(out)
    out.backward(gradient)
    arithmetic = [t.detach().clone().requires_grad_() for t in (x, y, pi)]
    g = active.float() + arithmetic[2] - arithmetic[2].detach()
    (arithmetic[0] + g[..., None] * (arithmetic[1] - arithmetic[0])).backward(gradient)
    for ours, theirs in zip((x, y, pi), arithmetic, strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_open_gate_is_the_new_value_and_still_teaches_pi() -> None:
    x, y, pi = torch.randn(2, 5, 3), torch.randn(2, 5, 3, requires_grad=True), torch.rand(2, 5, requires_grad=True)
    out = gate(x, y, None, pi)
    assert torch.equal(out, y)
    out.sum().backward()
    assert torch.equal(y.grad, torch.ones_like(y))
    torch.testing.assert_close(pi.grad, (y - x).detach().sum(-1))


def test_selections() -> None:
    priority = torch.tensor([[0.1, 0.9, 0.5, 0.7], [0.8, 0.2, 0.3, 0.1]])
    assert topk_indices(priority, 2).tolist() == [[1, 3], [0, 2]]
    assert index_to_mask(topk_indices(priority, 2), 4).tolist() == [
        [False, True, False, True],
        [True, False, True, False],
    ]
    assert topk_mask(priority, torch.tensor([3, 0])).tolist() == [[False, True, True, True], [False] * 4]


def test_blur_keeps_constants_and_the_mean() -> None:
    like = torch.zeros((), dtype=torch.float64)
    for grid in ((14, 14), (7, 5), (1, 4)):
        blur = Blur(grid, 0.5, 1.0, like)
        values = torch.rand(2, 2, grid[0] * grid[1], dtype=torch.float64)
        torch.testing.assert_close(blur(values).mean(-1), values.mean(-1), atol=1e-14, rtol=0)
        constant = torch.full_like(values, 0.3)
        torch.testing.assert_close(blur(constant), constant, atol=1e-15, rtol=0)


def test_blur_of_an_outlier() -> None:
    blur = Blur((7, 7), 0.5, 1.0, torch.zeros((), dtype=torch.float64))
    image = torch.zeros(1, 1, 7, 7, dtype=torch.float64)
    image[..., 3, 3] = 1
    out = blur(image.flatten(-2)).view(7, 7)
    assert out[3, 3].item() == pytest.approx(0.60209, abs=1e-6)
    assert (2 * out[2, 3]).item() == pytest.approx(0.123841, abs=1e-6)
    assert (2 * out[2, 2]).item() == pytest.approx(0.075114, abs=1e-6)
    assert out[1, 3] == 0


def test_depth_target() -> None:
    target = depth_target(12, torch.zeros((), dtype=torch.float64)).exp()
    assert target.sum().item() == pytest.approx(1)
    expected = [0, 0, 0, 0, 0.00013, 0.00443, 0.054, 0.242, 0.399, 0.242, 0.054, 0.00443]
    assert target.tolist() == pytest.approx(expected, abs=5e-4)
    assert target[4].item() == pytest.approx(0.00013, abs=5e-6)
    assert depth_target(24, target).argmax() == 16


def test_prior_is_zero_at_the_target_and_positive_elsewhere() -> None:
    like = torch.zeros((), dtype=torch.float64)
    assert prior_loss(0.2 * depth_target(12, like).exp()).item() == pytest.approx(0, abs=1e-9)
    assert prior_loss(torch.full((12,), 0.1)) > 1
    nothing = torch.zeros(12, requires_grad=True)
    loss = prior_loss(nothing)
    loss.backward()
    assert loss.isfinite()
    assert nothing.grad.isfinite().all()


def test_fresh_stabilizer_changes_no_bit_and_a_paused_token_feeds_its_neighbours() -> None:
    conv, x = GridConv(8), torch.randn(2, 1 + 20, 8)
    assert torch.equal(conv(x, (4, 5)), x)
    torch.nn.init.normal_(conv.weight)
    moved = x.clone()
    moved[:, 1 + 7] += 1  # row 1, column 2
    changed = (conv(moved, (4, 5)) != conv(x, (4, 5))).any(-1)[0]
    assert changed.nonzero()[:, 0].tolist() == [1 + 5 * row + column for row in (0, 1, 2) for column in (1, 2, 3)]


@pytest.mark.parametrize(
    ("kind", "each"), [("off", []), ("dw_pre", [640] * 3), ("dw_mlp", [2560] * 3), ("peg_once", [640])]
)
def test_stabilizer_parameters(kind: str, each: list[int]) -> None:
    convolutions = stabilizer(kind, [64] * 3, 4.0)
    assert [sum(p.numel() for p in conv.parameters()) for conv in convolutions.values()] == each
    if kind == "peg_once":
        assert list(convolutions) == ["1"]


@pytest.mark.parametrize(
    "options",
    [{"qkv_bias": True}, {"qk_norm": True, "init_values": 0.3}, {"scale_attn_norm": True, "scale_mlp_norm": True}],
    ids=str,
)
def test_layouts_agree(options: dict[str, Any]) -> None:
    """With the norms that a trunk may have in its attention, too."""
    torch.manual_seed(0)
    block = Block(16, 2, **options).double().eval()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    u = torch.randn(3, 10, 16, dtype=torch.float64)
    active = torch.rand(3, 10) > 0.5
    active[:, 0] = True
    active[1, 1:] = False  # the class token only
    reference, row = run_block_on_grid(block, u, Masked(active), want_cls=True)
    for local in (None, lambda h: h + h.roll(1, 1)):
        masked = Masked(active)
        expected, row = run_block_on_grid(block, u, masked, True, local)
        ragged = Packed.from_mask(active)
        got, ragged_row = run_block_on_grid(block, u, ragged, True, local)
        torch.testing.assert_close(ragged.scatter(u, got), masked.scatter(u, expected), atol=1e-14, rtol=0)
        torch.testing.assert_close(ragged_row, row, atol=1e-14, rtol=0)
    torch.testing.assert_close(reference, run_block_on_grid(block, u, Masked(active))[0], atol=1e-14, rtol=0)
    index = topk_indices(torch.rand(3, 10), 4)
    masked, gathered = Masked(index_to_mask(index, 10)), Gathered(index)
    torch.testing.assert_close(
        gathered.scatter(u, run_block_on_grid(block, u, gathered)[0]),
        masked.scatter(u, run_block_on_grid(block, u, masked)[0]),
        atol=1e-14,
        rtol=0,
    )
    everything = run_block_on_grid(block, u, Dense(), want_cls=True)
    torch.testing.assert_close(everything[0], block(u), atol=1e-14, rtol=0)
    torch.testing.assert_close(everything[1], full_cls_attention(block, u), atol=1e-14, rtol=0)
    assert everything[1].sum(1).tolist() == pytest.approx([1] * 3)


def test_class_attention_of_a_paused_token_is_remembered() -> None:
    controller = Controller(4, 8, TPCOptions(score="cls_attention", smoothing="none"))
    chain = controller.start(1, (2, 2), torch.zeros(()))
    x = torch.randn(1, 4, 8)
    controller.select(chain)
    controller.observe(chain, x, torch.tensor([[0.1, 0.2, 0.3, 0.4]]))
    chain.active_BN = torch.tensor([[True, False, True, False]])
    controller.observe(chain, x, torch.tensor([[0.3, 0.0, 0.1, 0.0]]))
    torch.testing.assert_close(chain.relative_attention_BN, torch.tensor([[0.5, -0.2, -0.5, 0.6]]))


@pytest.mark.parametrize(
    ("option", "value"),
    [("pause", "maybe"), ("smoothing", "off"), ("score", "norm"), ("keep_rate", 1.5), ("keep_rate", 0.0),
     ("threshold", 0.0), ("eps", 1.0), ("smooth_strength", 2.0), ("smooth_sigma", 0.0), ("depth_ema", 1.0)],
)  # fmt: skip
def test_wrong_rules_are_refused(option: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^{option} must be .*{value!r}"):
        TPCOptions(**{option: value})
