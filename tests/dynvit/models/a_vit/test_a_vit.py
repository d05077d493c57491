"""A-ViT against the official model's numbers, its halting rule by hand, and what removed tokens save."""

import covering
import parity
import pytest
import timm
import torch
from small_baselines import DEIT3, QK_NORM, images, small

import dynvit
from dynvit.models.a_vit.halting import HaltingScore, HaltingState

NAME = "avit_deit_tiny_patch16_224"
EARLY_HALTING = {"gate_scale": 3.0, "gate_center": 1.5}  # at toy size tokens stop in every layer


def official():
    fixture = parity.load("avit_deit_t")
    facts = fixture.facts["model"]
    model = timm.create_model(
        NAME, gate_scale=facts["gate_scale"], gate_center=facts["gate_center"], eps=facts["eps"]
    ).double()
    return dynvit.load_official(model, fixture.state_dict()).eval(), fixture


@pytest.mark.parametrize("execution", ["gathered", "masked"])
def test_evaluation_equals_the_official_model(execution):
    model, fixture = official()
    model.set_execution(execution)
    with torch.no_grad(), dynvit.trace_tokens(model) as trace:
        logits = model(fixture.image())
    assert parity.largest_difference(logits, fixture.array("logits_fp64")) < 1e-9
    assert torch.equal(trace.depth, fixture.array("depth_counter")[:, 1:])
    model.float()
    with torch.no_grad(), dynvit.trace_tokens(model) as trace:
        low = model(fixture.image(dtype=torch.float32))
    reference = fixture.array("logits_fp64")
    assert parity.largest_difference(low, reference) < 1e-4 * reference.std().item()
    assert torch.equal(trace.depth, fixture.array("depth_counter")[:, 1:])


def test_training_equals_the_official_model():
    model, fixture = official()
    output = model.train()(fixture.image())
    assert parity.largest_difference(output.logits, fixture.array("logits_fp64")) < 1e-9
    assert torch.equal(output.extra["depth"], fixture.array("depth_counter"))
    assert parity.largest_difference(output.extra["ponder"], fixture.array("ponder_rho")) < 1e-9
    assert abs(output.losses["ponder"].item() - fixture.arrays["ponder_rho"].mean()) < 1e-9


def test_the_depths_are_those_of_the_specification():
    depth = parity.load("avit_deit_t").array("depth_counter")
    assert torch.bincount(depth.flatten(), minlength=13).tolist() == [0, 37, 37, 71, 2, 10, 40, 21, 6, 4, 4, 12, 150]
    assert round(depth.double().mean().item(), 2) == 7.17


def block_macs(tokens, width=192):
    return 12 * tokens * width**2 + 2 * tokens**2 * width


def test_macs_are_those_of_the_active_tokens():
    model, fixture = official()
    depth = fixture.array("depth_counter")
    ends = 196 * 768 * 192 + 192 * 1000
    cost = dynvit.complexity(model, fixture.image())
    assert cost.params == 5_717_416
    for image in range(2):
        active = [(depth[image] > layer).sum().item() for layer in range(12)]
        assert cost.macs[image] == ends + sum(block_macs(n) for n in active)
    model.early_exit = True
    early = dynvit.complexity(model, fixture.image()).macs
    for image in range(2):
        active = [(depth[image] > layer).sum().item() for layer in range(depth[image, 0])]
        assert early[image] == ends + sum(block_macs(n) for n in active)


@pytest.mark.parametrize(
    ("name", "params", "macs"),
    [(NAME, 5_717_416, 1_253_683_200), ("avit_deit_small_patch16_224", 22_050_664, 4_598_882_304)],
)
def test_where_nobody_stops_the_cost_is_that_of_deit(name, params, macs):
    model = timm.create_model(name, gate_center=1e4)
    cost = dynvit.complexity(model, torch.randn(1, 3, 224, 224))
    assert (cost.params, cost.macs.item()) == (params, macs)


def test_defaults():
    tiny, tall = timm.create_model(NAME), timm.create_model("avit_deit_small_patch16_224")
    assert (tiny.halting_score, tall.halting_score) == (HaltingScore(10.0, 30.0, 0.01), HaltingScore(10.0, 75.0, 0.01))
    assert tiny.weights == {"ponder": 5e-4, "distribution": 1e-3}


@pytest.mark.parametrize("trunk", [{}, DEIT3, QK_NORM], ids=["deit", "deit3", "qk_norm"])
@pytest.mark.parametrize("execution", ["gathered", "masked"])
def test_where_nobody_stops_it_is_the_trunk(trunk, execution):
    reference, x = small("vit_tiny_patch16_224", **trunk), images()
    model = small(NAME, seed=2, gate_center=1e4, **trunk)
    report = dynvit.load_trunk(model, reference.state_dict())
    assert not report.unused
    assert not report.kept
    model.set_execution(execution)
    with torch.no_grad(), dynvit.trace_tokens(model) as trace:
        logits = model(x)
    assert all(active.all() for active in trace.active)
    if execution == "gathered":
        assert torch.equal(logits, reference(x))
    else:
        assert parity.largest_difference(logits, reference(x)) < 1e-12


def test_the_halting_rule_by_hand():
    """Scores 0.4, 0.4, 0.4: the third block pays what is left, 0.2; a token of 0.995 stops at once with weight 1."""
    state, eps = HaltingState.init(torch.zeros(2, 1, dtype=torch.float64)), 0.01
    active = torch.tensor([True, True])
    paid = []
    for score in ([0.4, 0.995], [0.4, 0.3], [0.4, 0.3]):
        weight, stops = state.update(torch.tensor(score, dtype=torch.float64), eps, active)
        active = active & ~stops
        paid.append(weight.tolist())
    assert paid[:2] == [[0.4, 1.0], [0.4, 0.0]]
    assert paid[2] == pytest.approx([0.2, 0.0], abs=1e-12)
    assert active.tolist() == [False, False]
    assert state.blocks.tolist() == [3, 1]
    assert torch.allclose(state.ponder, torch.tensor([3.2, 2.0], dtype=torch.float64))


def one_image(model, image):
    """The method written out for one image with lists of tokens; the official order of things."""
    x = model._pos_embed(model.patch_embed(image[None]))[0]
    alive, total, left = list(range(len(x))), [0.0] * len(x), [1.0] * len(x)
    out, depth = torch.zeros_like(x), [0] * len(x)
    for layer, block in enumerate(model.blocks):
        if not alive:
            break
        y = block(x[alive][None])[0]
        x = x.index_copy(0, torch.tensor(alive), y)
        for token in list(alive):
            depth[token] += 1
            last = layer + 1 == len(model.blocks)
            h = (
                1.0
                if last
                else torch.sigmoid(model.halting_score.scale * x[token, 0] - model.halting_score.center).item()
            )
            total[token] += h
            if total[token] > 1 - model.halting_score.eps:
                out[token] += left[token] * x[token]
                alive.remove(token)
            else:
                out[token] += h * x[token]
                left[token] -= h
    return model.norm(out), depth


COMBINATIONS = covering.pairwise(
    {
        "gate_scale": [1.0, 3.0],
        "gate_center": [0.5, 1.5, 3.0],
        "eps": [0.01, 0.3],
        "early_exit": [False, True],
        "trunk": [{}, DEIT3, QK_NORM],
    }
)


@pytest.mark.parametrize("options", COMBINATIONS, ids=lambda o: "-".join(map(str, o.values())))
def test_gathered_equals_masked_and_the_method_written_out(options):
    options = dict(options)
    model, x, found = small(NAME, **options.pop("trunk"), **options), images(6), []
    for execution in ("gathered", "masked"):
        model.set_execution(execution)
        with torch.no_grad(), dynvit.trace_tokens(model) as trace:
            found.append((model.forward_features(x), list(trace.active), list(trace.scores), model(x)))
    (features, active, scores, logits), (features_m, active_m, scores_m, logits_m) = found
    assert parity.largest_difference(features, features_m) < 1e-9
    assert parity.largest_difference(logits, logits_m) < 1e-9
    assert all(torch.equal(a, b) for a, b in zip(active, active_m, strict=True))
    assert all(torch.allclose(a, b, atol=1e-9) for a, b in zip(scores, scores_m, strict=True))
    assert not active[-1].all(), "no token halted: nothing is compared"
    model.set_execution("gathered")
    alone = torch.cat([model(image[None]) for image in x])
    assert parity.largest_difference(alone, logits) < 1e-9
    for image in range(2):
        with torch.no_grad():
            written, depth = one_image(model, x[image])
        assert parity.largest_difference(model.head(written[:1]), logits[image : image + 1]) < 1e-9
        if not options["early_exit"]:
            assert sum(active)[image].tolist() == depth[1:]
            assert parity.largest_difference(written, features[image]) < 1e-9


def test_tokens_stop_at_different_depths_in_different_images():
    with torch.no_grad(), dynvit.trace_tokens(model := small(NAME, **EARLY_HALTING)) as trace:
        model(images())
    counts = torch.stack([a.sum(1) for a in trace.active])
    assert len(trace.depth.unique()) >= 4
    assert any(len(row.unique()) > 1 for row in counts)
    assert (counts.diff(dim=0) <= 0).all()


def test_everybody_may_stop_at_once():
    model, x = small(NAME, gate_center=-50.0), images()
    with torch.no_grad(), dynvit.trace_tokens(model) as trace:
        logits = model(x)
    assert len(trace.active) == 8
    assert trace.depth.unique().tolist() == [1]
    first = model.blocks[0](model._pos_embed(model.patch_embed(x)))
    assert parity.largest_difference(logits, model.forward_head(model.norm(first))) < 1e-12
