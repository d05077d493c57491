"""Which tokens stay is decided in float32 with autocast off, in a stable order, for every method."""

from importlib import import_module

import pytest
import torch
from dynvit_families import FAMILIES, build, images, leaves_out

import dynvit
from dynvit.layers.token_gather import top_tokens
from dynvit.reduction.signals import Signals

METHODS = [family for family in FAMILIES if leaves_out(family)]
EXECUTIONS = pytest.mark.parametrize("execution", ["gathered", "masked"])
DYNAMICVIT, MOR, TPC = "dynamic_vit.pruning", "mor_vit", "tpc_vit"
DECIDES = {
    "evo_deit": [("evo_vit.scoring_block", "cls_attention")],
    "evo_deit_mean": [("evo_vit.scoring_block", "cls_attention")],
    "evo_deit_random": [("evo_vit.scoring_block", "cls_attention")],
    "evo_levit": [("evo_vit.levit", "cls_attention")],
    "mor_token": [(f"{MOR}.depth_router", "run_at_full_precision")],
    "edge_recvit": [(f"{MOR}.depth_router", "run_at_full_precision")],
    "mor_expert": [(f"{MOR}.expert_router", "run_at_full_precision")],
    "tpc_deit": [(f"{TPC}.controller", "Controller._probabilities")],
    "tpc_deit_rate": [("layers.block", "cls_attention"), (f"{TPC}.controller", "Controller._probabilities")],
    "tpc_deit_random": [(f"{TPC}.controller", "Controller._probabilities")],
    "tpc_lvvit": [(f"{TPC}.controller", "Controller._probabilities")],
    "tpc_swin": [(f"{TPC}.controller", "Controller._probabilities")],
    "tpc_swin_rate": [
        (f"{TPC}.swin_windows", "shares"),
        (f"{TPC}.controller", "Controller._probabilities"),
    ],
    "dynamicvit_deit": [(DYNAMICVIT, "run_at_full_precision")],
    "dynamicvit_lvvit": [(DYNAMICVIT, "run_at_full_precision")],
    "evit": [("evit.model", "cls_attention")],
    "tome": [("reduction.signals", "Signals.unit_keys"), ("reducers.tome", "match")],
    "avit": [("a_vit.halting", "HaltingScore.__call__")],
}
"""The functions that make a family's scores."""


def autocast(on=True):
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=on)


def active_tokens(model, x, amp):
    with torch.no_grad(), autocast(amp), dynvit.trace_tokens(model) as trace:
        logits = model(x)
    return torch.cat([active_BN.flatten() for active_BN in trace.active]), logits.float()


def widened(value):
    if isinstance(value, Signals):
        return Signals(*map(widened, value))
    return value.float() if isinstance(value, torch.Tensor) and value.dtype == torch.bfloat16 else value


def parts(result):
    """The scores of a result; windows return attention, which decides, and values, which do not."""
    if not isinstance(result, tuple):
        return (result,)
    return result[:1] if result[0].ndim == 4 else [part for part in result if isinstance(part, torch.Tensor)]


@pytest.mark.parametrize("mode", ["gathered", "masked", "training"])
@pytest.mark.parametrize("family", [family for family in METHODS if family != "mor_random"])
def test_a_score_is_the_same_with_and_without_autocast(family, mode, monkeypatch):
    """Each call that makes scores is made twice, the second time without autocast on the states as float32: equal."""
    seen = []

    def twice(original):
        def call(*args, **options):
            result = original(*args, **options)
            with autocast(False):
                again = original(*map(widened, args), **options)
            if options.get("exact", True):
                pairs = zip(parts(result), parts(again), strict=True)
                seen.extend(torch.equal(a, b) and a.dtype in (torch.float32, torch.int64) for a, b in pairs)
            return result

        return call

    model = build(family).train(mode == "training")
    model.set_execution("masked" if mode == "masked" else "gathered")
    for module, name in DECIDES[family]:
        owner = import_module(f"dynvit.{'' if module.startswith(('layers', 'reduc')) else 'models.'}{module}")
        *classes, function = name.split(".")
        for part in classes:
            owner = getattr(owner, part)
        monkeypatch.setattr(owner, function, twice(getattr(owner, function)))
    with torch.no_grad(), autocast():
        model(images())
    assert seen and all(seen)


@pytest.mark.parametrize("family", METHODS)
def test_decisions_under_autocast_are_those_without(family):
    """Up to ties that the rounding of the states in front of the scores can turn: less than one in a hundred."""
    model, x = build(family), images(32)
    plain, _ = active_tokens(model, x, amp=False)
    half, _ = active_tokens(model, x, amp=True)
    assert plain.float().mean() < 1, "tokens are left out"
    assert (plain != half).float().mean() < 0.01


@pytest.mark.parametrize("family", METHODS)
def test_gathered_and_masked_decide_alike_under_autocast(family):
    model, x = build(family), images(32)
    gathered, logits = active_tokens(model, x, amp=True)
    model.set_execution("masked")
    masked, others = active_tokens(model, x, amp=True)
    assert (gathered != masked).float().mean() < 0.002
    assert (logits - others).abs().max() < 0.1


@pytest.mark.parametrize("amp", [False, True])
def test_a_fresh_predictor_tells_tokens_apart(amp):
    """Its log-probabilities are close to log 1/2, where bfloat16 has one number for all."""
    model, x = build("dynamicvit_deit", img_size=64), images(8, (64, 64))
    for module in model.score_predictor.modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.trunc_normal_(module.weight, std=0.02)
            torch.nn.init.zeros_(module.bias)
    found = []
    for execution in ("gathered", "masked"):
        model.set_execution(execution)
        with torch.no_grad(), autocast(amp), dynvit.trace_tokens(model) as trace:
            model(x)
        assert all(len(scores_N.unique()) > 32 for scores_N in trace.scores[1]), "of 64"
        found.append(trace.active[:2])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_of_equal_scores_the_first_stay():
    score_BN = torch.tensor([[0.0, 2.0, 1.0, 2.0, 2.0, 1.0], [0.0] * 6])
    assert top_tokens(score_BN, 3).tolist() == [[1, 3, 4], [0, 1, 2]]
    many = torch.zeros(1, 5000)
    assert torch.equal(top_tokens(many, 4999)[0], torch.arange(4999))
