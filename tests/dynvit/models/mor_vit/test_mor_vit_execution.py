"""MoR-ViT: gathered execution gives the numbers of the masked reference, for a pairwise cover of all options."""

import pytest
import torch
from covering import pairwise
from small_mor_vit import images, small

import dynvit

SHARINGS = ["none", "cycle", "sequence", "middle_cycle", "middle_sequence"]
CONTEXTS = ["frozen", "active_only", "first_kv"]
TOKEN = pairwise({
    "sharing": SHARINGS, "routing": ["token", "random", "off"], "router": ["linear", "mlp", "mlp2", "mlp3"],
    "context": CONTEXTS, "cls_depth": ["full", "three_quarters"], "confidence": [False, True],
    "balance": ["variance", "switch", "loss_free", "none"], "temperature": [1.0, 0.5],
})  # fmt: skip
EXPERT = pairwise({
    "sharing": SHARINGS, "router": ["linear", "mlp", "mlp2", "mlp3"], "context": CONTEXTS,
    "gating": ["weighted", "additive", "replace"], "capacity": ["linear", 0.5, 1.0, "list"],
    "capacity_warmup": [0, 3], "alpha": [0.1, 1.0], "z_loss": [None, 0.5], "drop_path_rate": [0.0, 0.3],
})  # fmt: skip


def expert(options):
    capacity = {3: [0.8, 0.8, 0.3], 4: [1.0, 0.6, 0.6, 0.1]}[4 if options["sharing"] in ("cycle", "sequence") else 3]
    return small(routing="expert", **{**options, "capacity": capacity} if options["capacity"] == "list" else options)


def label(options):
    return "-".join(str(value) for value in options.values())


def by_image(model, x):
    return torch.cat([model(x[i : i + 1]) for i in range(len(x))])


@pytest.mark.parametrize("options", TOKEN, ids=label)
def test_token_choice_gathered_equals_masked(options):
    model, x = small(**options), images()
    with torch.no_grad(), dynvit.trace_tokens(model) as trace:
        gathered, depth = model(x), trace.depth
        single = by_image(model, x)
        model.set_execution("masked")
        masked = model(x)
        assert torch.equal(trace.depth, depth)
    if options["routing"] == "token":  # else the test would not reach the packed rows
        assert len({tuple(row.bincount(minlength=9).tolist()) for row in depth}) > 1
    assert (gathered - masked).abs().max() < 1e-9
    assert (single - masked).abs().max() < 1e-9
    assert masked.std() > 0.05


@pytest.mark.parametrize("options", TOKEN[::3], ids=label)
def test_token_choice_gradients_in_eval(options):
    """A saliency map in eval mode: gathered keeps the graph, nothing is overwritten that a gradient needs."""
    model, gradients = small(**options), []
    for execution in ("gathered", "masked"):
        model.set_execution(execution)
        x = images().requires_grad_()
        model(x).square().sum().backward()
        gradients.append(x.grad)
    assert (gradients[0] - gradients[1]).abs().max() < 1e-9
    assert gradients[0].abs().max() > 1e-3


@pytest.mark.parametrize("options", EXPERT, ids=label)
def test_expert_choice_gathered_equals_masked(options):
    model, x = expert(options), images()
    with torch.no_grad(), dynvit.trace_tokens(model) as trace:
        gathered, active, scores = model(x), list(trace.active), list(trace.scores)
        single = by_image(model, x)
        model.set_execution("masked")
        masked = model(x)
    assert (gathered - masked).abs().max() < 1e-9
    assert (single - masked).abs().max() < 1e-9
    for ours, theirs in zip(active, trace.active, strict=True):
        assert torch.equal(ours, theirs)
    for ours, theirs in zip(scores, trace.scores, strict=True):
        assert (ours is None) == (theirs is None)
        assert ours is None or torch.allclose(ours, theirs, atol=1e-9)


@pytest.mark.parametrize("options", EXPERT, ids=label)
def test_expert_choice_trains_gathered(options):
    """Logits, losses, depths and every gradient; two steps, so that a warm-up moves."""
    runs = []
    for execution in ("gathered", "masked"):
        model, x = expert(options).train(), images()
        model.set_execution(execution)
        model.set_grad_checkpointing(execution == "gathered" and options["alpha"] == 1.0)
        torch.manual_seed(3)
        model(x)
        output = model(x)
        dynvit.training_loss(output, torch.arange(4)).backward()
        runs.append((output, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}))
    (ours, gradients), (theirs, expected) = runs
    assert (ours.logits - theirs.logits).abs().max() < 1e-9
    assert torch.equal(ours.extra["depth"], theirs.extra["depth"])
    assert ours.losses.keys() == theirs.losses.keys() == ({"aux", "z"} if options["z_loss"] else {"aux"})
    assert all((ours.losses[name] - theirs.losses[name]).abs() < 1e-9 for name in ours.losses)
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        assert (gradient - expected[name]).abs().max() < 1e-9, name
    assert all(gradients[f"router.nets.{i}.0.weight"].abs().max() > 0 for i in range(len(model.router.nets)))


def test_the_cover_holds_every_pair():
    from itertools import combinations, product

    levels = {"a": [1, 2, 3], "b": [0, 1], "c": ["x", "y"]}
    cover = pairwise(levels, lambda row: row["a"] != 3 or row["b"] == 0)
    assert len(cover) < 12
    for first, second in combinations(levels, 2):
        for pair in product(levels[first], levels[second]):
            forbidden = (first, second) == ("a", "b") and pair == (3, 1)
            assert any((row[first], row[second]) == pair for row in cover) != forbidden


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("routing", ["token", "expert"])
def test_float32_keeps_the_same_tokens(routing, context):
    model, x = small(routing=routing, context=context, dtype=torch.float32), images(dtype=torch.float32)
    with torch.no_grad():
        gathered = model(x)
        model.set_execution("masked")
        assert (gathered - model(x)).abs().max() < 1e-4
