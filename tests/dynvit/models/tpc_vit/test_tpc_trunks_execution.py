"""TPC-ViT on LV-ViT and Swin: carried tokens, masked against gathered execution, exact rates, merging, lost windows."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import covering
import pytest
import torch
from small_tpc_trunks import LAYERS, controllers, first_layers, images, small, trunk

from dynvit import load_trunk, trace_tokens
from dynvit.macs import complexity

COMBINATIONS = covering.pairwise(
    {
        "pause": [True, "random", "attention"],
        "restart": [True, False],
        "smoothing": ["none", "spatial", "prior", "both"],
        "stabilizer": ["off", "dw_pre", "dw_mlp", "peg_once"],
        "keep_rate": [None, 0.5],
        "score": ["channel", "linear", "cls_attention"],
        "terminate": [False, True],
        "depth_ema": [0.0, 0.4],
    }
)
BOTH = pytest.mark.parametrize("kind", ["lvvit", "swin"])


def traced(model: Any, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    with torch.no_grad(), trace_tokens(model) as trace:
        return model(x), trace.active


@BOTH
@pytest.mark.parametrize("options", COMBINATIONS, ids=lambda o: "-".join(map(str, o.values())))
def test_masked_equals_gathered(kind: str, options: dict[str, Any]) -> None:
    model, x = small(kind, **options, eps=0.4 if options["terminate"] else 0.01), images()
    gathered, active = traced(model, x)
    model.set_execution("masked")
    masked, same = traced(model, x)
    torch.testing.assert_close(gathered, masked, atol=1e-9, rtol=0)
    assert all(torch.equal(a, b) for a, b in zip(active, same, strict=True))
    assert not all(a.all() for a in active), "nothing was paused: the comparison says nothing"
    one_by_one = torch.cat([traced(model, image[None])[0] for image in x])
    torch.testing.assert_close(one_by_one, masked, atol=1e-9, rtol=0)


@BOTH
@pytest.mark.parametrize("options", COMBINATIONS[::3], ids=lambda o: "-".join(map(str, o.values())))
def test_training_gradients(kind: str, options: dict[str, Any]) -> None:
    model = small(kind, **options).train()
    output = model(images())
    (output.logits.square().sum() + sum(output.losses.values())).backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert missing == []
    assert controllers(model)[0].pause_shift.grad.abs().max() > 0  # later, `terminate` may have ended every token


@BOTH
def test_training_decides_as_evaluation(kind: str) -> None:
    """By the same thresholds; LV-ViT's stem, which has batch statistics, apart."""
    model, x = small(kind, depth_ema=0.3), images()
    expected, active = traced(model, x)
    model.train()
    if kind == "lvvit":
        model.patch_embed.eval()
    output, same = traced(model, x)
    torch.testing.assert_close(output.logits, expected, atol=1e-9, rtol=0)
    assert all(torch.equal(a, b) for a, b in zip(active, same, strict=True))


@BOTH
def test_without_pausing_it_is_the_trunk_bit_for_bit(kind: str) -> None:
    reference, x = trunk(kind), images()
    arms = ({"pause": False, "stabilizer": "off"}, {"pause": False}, {"pause_offset": -1e4}, {"keep_rate": 1.0})
    for options in arms:
        model = small(kind, **options)
        for parameter in model.stabilizer.parameters():
            torch.nn.init.zeros_(parameter)  # as a fresh one
        load_trunk(model, reference.state_dict())
        for execution in ("masked", "gathered"):
            model.set_execution(execution)
            logits, active = traced(model, x)
            assert len(active) == LAYERS[kind]
            assert all(a.all() for a in active)
            assert torch.equal(logits, reference(x))
        if "keep_rate" in options:
            continue  # training goes by the threshold
        output, expected = model.train()(x), reference.train()(x)
        assert torch.equal(output if isinstance(output, torch.Tensor) else output.logits, expected)
        reference.eval()


@BOTH
@pytest.mark.parametrize("stabilizer", ["dw_pre", "dw_mlp"])
def test_limits_of_pause_and_restart(kind: str, stabilizer: str) -> None:
    dense, x = small(kind, pause=False, stabilizer=stabilizer), images()
    for options in ({"pause_offset": -1e4}, {"restart_offset": 1e4}, {"keep_rate": 1.0}):
        logits, active = traced(small(kind, stabilizer=stabilizer, **options), x)
        assert all(a.all() for a in active)
        assert torch.equal(logits, dense(x))


@BOTH
@pytest.mark.parametrize("execution", ["masked", "gathered"])
@pytest.mark.parametrize("options", [{}, {"keep_rate": 0.4, "stabilizer": "dw_mlp"}], ids=str)
def test_a_paused_token_keeps_its_bits(kind: str, execution: str, options: dict[str, Any]) -> None:
    model, steps = small(kind, **options), []
    model.set_execution(execution)
    layer = model._layer

    def watched(*arguments: Any) -> torch.Tensor:
        before = next(a for a in arguments if isinstance(a, torch.Tensor))
        steps.append((before, layer(*arguments)))
        return steps[-1][1]

    model._layer = watched
    _, active = traced(model, images())
    paused = 0
    for (before, after), active_BN in zip(steps, active, strict=True):
        prefix = before.shape[1] - active_BN.shape[1]
        before, after = before[:, prefix:], after[:, prefix:]
        assert torch.equal(after[~active_BN], before[~active_BN])
        assert (after[active_BN] != before[active_BN]).any(-1).all()
        paused += int((~active_BN).sum())
    assert paused > 40
    same_grid = [(a, b) for a, b in pairwise(active) if a.shape == b.shape]
    assert sum(int((~a & b).sum()) for a, b in same_grid) > 0, "no token was restarted: re-entry is not tested"


@BOTH
def test_everybody_paused(kind: str) -> None:
    model, x = small(kind, pause_offset=40.0, restart=False), images()
    for execution in ("masked", "gathered"):
        model.set_execution(execution)
        logits, active = traced(model, x)
        assert logits.isfinite().all()
        assert {layer for layer, a in enumerate(active) if a.any()} == first_layers(kind)
    assert complexity(model, x).macs.isfinite().all()
    output = model.train()(x)
    (output.logits.sum() + sum(output.losses.values())).backward()
    assert output.logits.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@BOTH
@pytest.mark.parametrize("keep_rate", [0.01, 0.3, 0.7])
@pytest.mark.parametrize("pause", [True, "random", "attention"])
def test_keep_rate_is_exact_in_evaluation(kind: str, keep_rate: float, pause: Any) -> None:
    _, active = traced(small(kind, keep_rate=keep_rate, pause=pause), images())
    for layer, active_BN in enumerate(active):
        tokens = active_BN.shape[1]
        expected = tokens if layer in first_layers(kind) else round(keep_rate * tokens)
        assert active_BN.sum(1).tolist() == [expected] * 4


@BOTH
def test_without_restart_nobody_returns_and_terminated_tokens_neither(kind: str) -> None:
    for options in ({"restart": False}, {"restart": False, "keep_rate": 0.4, "pause": "random"}):
        _, active = traced(small(kind, **options), images())
        assert all((b <= a).all() for a, b in pairwise(active) if a.shape == b.shape)
    model = small(kind, terminate=True, eps=0.6, restart_offset=0.0)
    with torch.no_grad(), trace_tokens(model) as trace:
        model(images())
    ended, seen = None, 0
    for layer, (active_BN, pi_BN) in enumerate(zip(trace.active, trace.scores, strict=True)):
        ended = torch.zeros_like(active_BN) if layer in first_layers(kind) else ended
        assert not (active_BN & ended).any()
        ended = ended | (pi_BN == 0)
        seen += int((pi_BN == 0).sum())
    assert seen > 0


@pytest.mark.parametrize(
    ("kind", "options"),
    [("swin", {"keep_rate": 0.5, "depths": (1, 2), "num_heads": (2, 4)}),
     ("swin", {"depths": (1, 2), "num_heads": (2, 4)}),
     ("lvvit", {"keep_rate": 0.5, "depth": 2})],
)  # fmt: skip
def test_compiles_without_a_break(kind: str, options: dict[str, Any]) -> None:
    """Equal counts gathered; a threshold, whose counts the images decide, masked."""
    model = small(kind, **options)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(images()), model(images()), atol=1e-9, rtol=0)
