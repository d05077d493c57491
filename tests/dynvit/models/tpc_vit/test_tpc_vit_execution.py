"""What a paused token does and does not: carried bits, masked against gathered execution, exact rates."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import covering
import pytest
import torch
from small_tpc_vit import images, small, trunk

from dynvit import load_trunk, trace_tokens

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
        "threshold": [0.5, 0.6],
    }
)


def traced(model: Any, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    with torch.no_grad(), trace_tokens(model) as trace:
        return model(x), trace.active


@pytest.mark.parametrize("options", COMBINATIONS, ids=lambda o: "-".join(map(str, o.values())))
def test_masked_equals_gathered(options: dict[str, Any]) -> None:
    # eps: so that with `terminate` some tokens do end within six layers
    model, x = small(**options, eps=0.4 if options["terminate"] else 0.01), images()
    gathered, active = traced(model, x)
    model.set_execution("masked")
    masked, same = traced(model, x)
    torch.testing.assert_close(gathered, masked, atol=1e-9, rtol=0)
    assert all(torch.equal(a, b) for a, b in zip(active, same, strict=True))
    assert not all(a.all() for a in active), "nothing was paused: the comparison says nothing"
    one_by_one = torch.cat([traced(model, image[None])[0] for image in x])
    torch.testing.assert_close(one_by_one, masked, atol=1e-9, rtol=0)


@pytest.mark.parametrize("options", COMBINATIONS[::3], ids=lambda o: "-".join(map(str, o.values())))
def test_training_shapes_and_gradients(options: dict[str, Any]) -> None:
    model, x = small(**options).train(), images()
    output = model(x)
    (output.logits.square().sum() + sum(output.losses.values())).backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert missing == []
    assert model.controller.pause_shift.grad.abs().max() > 0


def test_masked_equals_gathered_in_float32() -> None:
    model, x = small(torch.float32), images(dtype=torch.float32)
    gathered, _ = traced(model, x)
    model.set_execution("masked")
    masked, _ = traced(model, x)
    assert (gathered - masked).abs().max() < 1e-6 * masked.abs().max().clamp_min(1)


@pytest.mark.parametrize("execution", ["masked", "gathered"])
@pytest.mark.parametrize("keep_rate", [None, 0.4])
@pytest.mark.parametrize("stabilizer", ["off", "dw_pre", "dw_mlp"])
def test_a_paused_token_keeps_its_bits(execution: str, keep_rate: float | None, stabilizer: str) -> None:
    model = small(keep_rate=keep_rate, stabilizer=stabilizer)
    model.set_execution(execution)
    with torch.no_grad(), trace_tokens(model) as trace:
        states = model.forward_intermediates(images(), output_fmt="NLC", intermediates_only=True)
    paused = 0
    for layer in range(1, 6):
        active = trace.active[layer]
        assert torch.equal(states[layer][~active], states[layer - 1][~active])
        assert (states[layer][active] != states[layer - 1][active]).any(-1).all()
        paused += int((~active).sum())
    assert paused > 40
    returned = [(~a & b).sum() for a, b in pairwise(trace.active)]
    assert sum(returned) > 0, "no token was restarted: re-entry is not tested"


def test_class_token_is_always_active() -> None:
    model = small(pause_offset=40.0, restart=False)  # every patch token is paused after the first layer
    for execution in ("masked", "gathered"):
        model.set_execution(execution)
        with torch.no_grad(), trace_tokens(model) as trace:
            pairs = model.forward_intermediates(images(), return_prefix_tokens=True, intermediates_only=True)
        assert [int(a.sum()) for a in trace.active] == [4 * 36, 0, 0, 0, 0, 0]
        for (_, before), (_, after) in pairwise(pairs):
            assert (before != after).any(-1).all()
        assert model(images()).isfinite().all()
    output = model.train()(images())
    output.logits.sum().backward()
    assert output.logits.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_without_pausing_it_is_the_trunk_bit_for_bit() -> None:
    reference, x = trunk(), images()
    for options in ({"pause": False, "stabilizer": "off"}, {"pause": False}, {"pause_offset": -3.0}):
        model = small(**{"restart_offset": 0.0, "score_scale": 0.1, **options})
        for parameter in model.stabilizer.parameters():
            torch.nn.init.zeros_(parameter)  # as a fresh one
        load_trunk(model, reference.state_dict())
        for execution in ("masked", "gathered"):
            model.set_execution(execution)
            logits, active = traced(model, x)
            assert all(a.all() for a in active)
            assert torch.equal(logits, reference(x))


@pytest.mark.parametrize("stabilizer", ["off", "dw_pre", "dw_mlp", "peg_once"])
def test_limits_of_pause_and_restart(stabilizer: str) -> None:
    dense, x = small(pause=False, stabilizer=stabilizer), images()
    for options in ({"pause_offset": -1e4}, {"restart_offset": 1e4}):
        model = small(stabilizer=stabilizer, **options)
        logits, active = traced(model, x)
        assert all(a.all() for a in active)
        assert torch.equal(logits, dense(x))


@pytest.mark.parametrize("pause", [True, "random", "attention"])
def test_without_restart_nobody_returns(pause: Any) -> None:
    for keep_rate in (None, 0.4):
        model = small(pause=pause, restart=False, keep_rate=keep_rate)
        with torch.no_grad(), trace_tokens(model) as trace:
            model(images())
        for before, after in pairwise(trace.active):
            assert (after <= before).all()
        for before, after in pairwise(trace.scores):
            assert (after <= before).all()
        assert 0 < trace.active[-1].float().mean() < 1


def test_terminated_tokens_never_return() -> None:
    options = {"terminate": True, "eps": 0.6, "restart_offset": 0.0}
    model, free = small(**options), small(**{**options, "terminate": False})
    with torch.no_grad(), trace_tokens(model) as trace:
        model(images())
    ended = torch.zeros(4, 36, dtype=torch.bool)
    for active, pi in zip(trace.active, trace.scores, strict=True):
        assert not (active & ended).any()
        ended |= pi == 0
    assert 0 < ended.float().mean() < 1
    with torch.no_grad(), trace_tokens(free) as other:
        free(images())
    assert sum(a.sum() for a in other.active) > sum(a.sum() for a in trace.active)


@pytest.mark.parametrize("keep_rate", [0.01, 0.3, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("pause", [True, "random", "attention"])
def test_keep_rate_is_exact_in_evaluation(keep_rate: float, pause: Any) -> None:
    _, active = traced(small(keep_rate=keep_rate, pause=pause), images())
    assert active[0].all()
    for later in active[1:]:
        assert later.sum(1).tolist() == [round(keep_rate * 36)] * 4


def test_kept_tokens_are_those_of_highest_pi() -> None:
    model = small(keep_rate=0.5)
    with torch.no_grad(), trace_tokens(model) as trace:
        model(images())
    for active, pi in zip(trace.active[1:], trace.scores[1:], strict=True):
        for image in range(4):
            assert pi[image][active[image]].min() >= pi[image][~active[image]].max()


@pytest.mark.parametrize("pause", ["random", "attention"])
def test_other_selections_keep_the_rate_of_the_controller(pause: Any) -> None:
    model = small(pause=pause)
    with torch.no_grad(), trace_tokens(model) as trace:
        model(images())
    chosen = 0
    for active, pi in zip(trace.active, trace.scores, strict=True):
        assert torch.equal(active.sum(1), (pi >= 0.5).sum(1))
        chosen += int((active != (pi >= 0.5)).sum())
    assert chosen > 0
    again, first = model(images()), model(images())
    assert torch.equal(again, first)
    model.train()
    torch.manual_seed(0)
    training = [model(images()).logits for _ in range(2)]
    assert torch.equal(*training) == (pause == "attention")


def test_smoothing_and_stabilizer_change_the_result() -> None:
    def results(name: str, values: list[Any]) -> list[torch.Tensor]:
        return [traced(small(**{name: value}), images())[0] for value in values]

    none, spatial, prior, both = results("smoothing", ["none", "spatial", "prior", "both"])
    assert torch.equal(none, prior)  # the prior is a loss
    assert torch.equal(spatial, both)
    assert (none - spatial).abs().max() > 1e-3
    kinds = results("stabilizer", ["off", "dw_pre", "dw_mlp", "peg_once"])
    assert all((a - b).abs().max() > 1e-3 for i, a in enumerate(kinds) for b in kinds[:i])
    for name, values in (("smooth_strength", [0.2, 0.5]), ("smooth_sigma", [0.5, 2.0]), ("depth_ema", [0.0, 0.5])):
        first, second = results(name, values)
        assert (first - second).abs().max() > 1e-6, name
