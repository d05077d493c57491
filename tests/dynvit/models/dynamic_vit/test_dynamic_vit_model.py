"""DynamicViT as a model: identities, masked against gathered, training terms, options, timm's conventions."""

import covering
import pytest
import timm
import torch
import torch.nn.functional as F
from parity import largest_difference
from small_baselines import DEIT, DEIT3, QK_NORM, images, small

import dynvit
from dynvit.layers.masked_softmax import masked_attention, masked_softmax, soft_masked_block
from dynvit.layers.pruning_loss import token_distance
from dynvit.layers.score_predictor import ScorePredictor, gumbel, hard_keep
from dynvit.tasks.classify import Train
from dynvit.train.optimizer import build_optimizer, build_scheduler

DEIT_NAME, LV_NAME = "dynamicvit_deit_tiny_patch16_224", "dynamicvit_lvvit_small"
BOTH = pytest.mark.parametrize("name", [DEIT_NAME, LV_NAME])
TARGET = torch.tensor([0, 3, 1, 4])
TRUNKS = {DEIT_NAME: "deit_tiny_patch16_224", LV_NAME: "lvvit_small"}


@pytest.mark.parametrize("trunk", [{}, DEIT3, QK_NORM], ids=["deit", "deit3", "qk_norm"])
@pytest.mark.parametrize("execution", ["gathered", "masked"])
def test_keeping_everything_is_the_trunk_bit_for_bit(trunk, execution):
    reference = small("vit_tiny_patch16_224", **trunk)
    model = small(DEIT_NAME, keep_ratio=1.0, seed=2, **trunk)
    report = dynvit.load_trunk(model, reference.state_dict())
    assert not report.unused
    assert all(name.startswith("score_predictor") for name in report.kept)
    model.set_execution(execution)
    assert torch.equal(model(images()), reference(images()))


def test_keeping_everything_is_lv_vit():
    reference = small("lvvit_small")
    model = small(LV_NAME, keep_ratio=1.0, seed=2, skip_lam=2.0)
    dynvit.load_trunk(model, reference.state_dict())
    assert torch.equal(model(images()), reference(images()))
    assert reference.blocks[0].ls1.by == 2


def test_masked_softmax_with_everything_kept_is_nearly_the_softmax():
    logits, mask = torch.randn(2, 3, 6, 6, dtype=torch.float64), torch.ones(2, 6, dtype=torch.float64)
    assert largest_difference(masked_softmax(logits, mask), logits.softmax(-1)) < 1e-5
    mask[:, 2:] = 0
    share = masked_softmax(logits, mask)
    only = logits.masked_fill(((mask == 0)[:, None, None]) & ~torch.eye(6, dtype=torch.bool), -torch.inf).softmax(-1)
    assert largest_difference(share, only) < 1e-5
    assert torch.allclose(share.sum(-1), torch.ones(()).double(), atol=1e-6)


def test_masked_attention_is_the_masked_softmax_times_values_with_its_gradients():
    q, k, v, given = (torch.randn(2, 3, 6, 4) for _ in range(4))
    mask = torch.tensor([[1.0, 1, 0, 1, 0, 0], [1, 0, 0, 0, 0, 0]])
    inputs = [t.requires_grad_() for t in (q, k, v, mask)]
    expected, found = masked_softmax(q @ k.transpose(-2, -1) * 0.5, mask) @ v, masked_attention(q, k, v, mask, 0.5)
    assert torch.equal(found, expected)
    pairs = zip(torch.autograd.grad(found, inputs, given), torch.autograd.grad(expected, inputs, given), strict=True)
    for gradient, reference in pairs:
        assert reference.abs().max() > 1e-3
        assert largest_difference(gradient, reference) < 1e-6 * reference.abs().max()


def test_the_masked_block_is_the_block():
    for options in ({}, DEIT3, QK_NORM):
        block = small("vit_tiny_patch16_224", **options).blocks[0]
        x = torch.randn(2, 9, 32, dtype=torch.float64)
        assert largest_difference(soft_masked_block(block, x, torch.ones(2, 9).double()), block(x)) < 1e-4


COMBINATIONS = covering.pairwise(
    {
        "name": [DEIT_NAME, LV_NAME],
        "keep_ratio": [0.9, 0.7, 0.4, (0.9, 0.9, 0.2)],
        "locations": [None, (0, 1, 2), (2, 3, 7)],
        "predictor_eps": [1e-5, 1e-6],
        "depth": [8, 9],
    }
)


@pytest.mark.parametrize("options", COMBINATIONS, ids=lambda o: "-".join(map(str, o.values())))
def test_masked_equals_gathered_and_images_are_independent(options):
    model, x, results = small(**options), images(), []
    for execution in ("gathered", "masked"):
        model.set_execution(execution)
        with torch.no_grad(), dynvit.trace_tokens(model) as trace:
            results.append((model.forward_features(x), model(x), list(trace.active), list(trace.scores)))
    (features, logits, active, scores), (features_m, logits_m, active_m, scores_m) = results
    assert largest_difference(features, features_m) < 1e-9
    assert largest_difference(logits, logits_m) < 1e-9
    assert all(torch.equal(a, b) for a, b in zip(active, active_m, strict=True))
    for a, b in zip(scores, scores_m, strict=True):
        assert (a is None) == (b is None)
        assert a is None or torch.allclose(a, b, atol=1e-9)
    assert active[-1].sum(1).tolist() == [model.kept[-1]] * 4
    model.set_execution("gathered")
    assert largest_difference(torch.cat([model(image[None]) for image in x]), logits) < 1e-12


@BOTH
def test_forward_intermediates_keep_dropped_tokens_as_they_were(name):
    model, x = small(name), images()
    with torch.no_grad(), dynvit.trace_tokens(model) as trace:
        states = model.forward_intermediates(x, output_fmt="NLC", intermediates_only=True)
    for layer in range(1, 8):
        active = trace.active[layer]
        assert torch.equal(states[layer][~active], states[layer - 1][~active])
        assert (states[layer][active] != states[layer - 1][active]).any(-1).all()
    assert model.forward_intermediates(x, indices=[7])[1][0].shape == (4, 32, 6, 6)


# ---- training


@BOTH
def test_training_has_finite_gradients_everywhere(name):
    model, x = small(name).train(), images()
    model.set_teacher(small(TRUNKS[name], seed=5))
    output = model(x)
    loss = dynvit.training_loss(output, TARGET)
    loss.backward()
    assert set(output.losses) == {"ratio", "distillation", "token"}
    for key, parameter in model.named_parameters():
        if name == LV_NAME and key.startswith("aux_head"):
            continue
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
    assert model.score_predictor[0].out_conv[4].weight.grad.abs().max() > 0
    assert "teacher" not in "".join(model.state_dict())


@BOTH
def test_without_a_teacher_only_the_share_is_added(name):
    model = small(name, ratio_weight=3.0).train()
    output = model(images())
    loss = dynvit.training_loss(output, TARGET)
    assert set(output.losses) == {"ratio"}
    expected = F.cross_entropy(output.logits, TARGET) + output.losses["ratio"]  # 3 / 3 locations
    assert torch.equal(loss, expected)
    given = torch.randn(4, 5, dtype=torch.float64)
    loss = dynvit.training_loss(output, TARGET, teacher_logits=given)
    kl = F.kl_div(output.logits.log_softmax(-1), given.log_softmax(-1), log_target=True, reduction="batchmean")
    assert abs((loss - expected - 0.5 * kl).item()) < 1e-12


def test_lv_vit_is_distilled_by_patch_logits():
    model, teacher, x = small(LV_NAME).train(), small("lvvit_small", seed=5), images()
    model.set_teacher(teacher)
    output = model(x)
    dynvit.training_loss(output, TARGET)
    live, student = output.extra["kept"], output.extra["aux"]
    reference = teacher.aux_head(teacher.forward_features(x)[:, 1:])
    kl = F.kl_div(
        student[live].log_softmax(-1), reference[live].log_softmax(-1), log_target=True, reduction="batchmean"
    )
    assert abs((output.losses["token"] - kl).item()) < 1e-12
    assert torch.equal(output.extra["teacher_logits"], teacher(x))


def test_no_survivors_no_token_term():
    student, teacher = torch.randn(2, 3, 4, requires_grad=True), torch.randn(2, 3, 4)
    for kind in ("mse", "kl"):
        distance = token_distance(student, teacher, torch.zeros(2, 3, dtype=torch.bool), kind)
        assert distance.item() == 0
    live = torch.tensor([[True, False, True], [False, True, False]])
    assert torch.allclose(token_distance(student, teacher, live, "mse"), F.mse_loss(student[live], teacher[live]))


@BOTH
def test_an_image_that_loses_every_token_stays_finite(name):
    """The official predictor divides 0 by 0 here."""
    model, x = small(name).train(), images()
    model.noise = lambda stage, logprob: torch.tensor([-1e3, 1e3]).to(logprob).expand_as(logprob)
    model.set_teacher(small(TRUNKS[name], seed=5))
    output = model(x)
    assert not output.extra["kept"].any()
    loss = dynvit.training_loss(output, TARGET)
    loss.backward()
    assert loss.isfinite()
    assert output.losses["token"].item() == 0
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_the_mean_of_live_tokens_is_weighted_by_the_mask():
    predictor = ScorePredictor(32, 1e-5).double()
    x, live = torch.randn(2, 6, 32, dtype=torch.float64), torch.tensor([1.0, 0, 1, 1, 0, 0]).double()
    some = predictor(x, live[None, :, None].expand(2, -1, 1))[:, live.bool()]
    assert largest_difference(some, predictor(x[:, live.bool()])) < 1e-12
    assert torch.allclose(some.exp().sum(-1), torch.ones(()).double())


def test_a_hard_draw_follows_the_probabilities_and_has_their_gradient():
    torch.manual_seed(0)
    logprob = torch.tensor([0.3, 0.7]).log().expand(1, 20_000, 2).clone().requires_grad_()
    keep = hard_keep(logprob, gumbel(0, logprob))
    assert set(keep.detach().round(decimals=5).unique().tolist()) == {0.0, 1.0}
    assert abs(keep.mean().item() - 0.3) < 0.02
    keep.sum().backward()
    assert logprob.grad[..., 0].min() >= 0
    assert logprob.grad[..., 0].max() > 0


def test_a_dropped_token_never_returns_in_training():
    model = small(DEIT_NAME).train()
    with dynvit.trace_tokens(model) as trace:
        model(images())
    for before, after in zip(trace.active[:-1], trace.active[1:], strict=True):
        assert (after <= before).all()
    assert trace.active[0].all()
    assert 0 < trace.active[-1].float().mean() < 0.6


def test_the_frozen_phase_and_the_groups_of_the_optimiser():
    model = small(DEIT_NAME, freeze_epochs=2)
    final = []
    for epoch in range(3):
        model.set_epoch(epoch, 5)
        final.append(model.at_final_operating_point)
        assert all(p.requires_grad for p in model.parameters())
    assert final == [False, False, True]
    groups = model.parameter_groups(weight_decay=0.05, trunk_scale=0.01)
    owners = {id(p): (g["lr_scale"], g["weight_decay"], g["freeze_epochs"]) for g in groups for p in g["params"]}
    for name, p in model.named_parameters():
        if name in ("cls_token", "pos_embed"):
            assert id(p) not in owners
        else:
            scale, frozen = (1.0, 0) if name.startswith("score_predictor") else (0.01, 2)
            assert owners[id(p)] == (scale, 0.05 if p.ndim > 1 else 0.0, frozen)


@pytest.mark.parametrize("scale", [0.01, 1.0])
def test_the_optimiser_of_classify_takes_the_models_groups(scale):
    model, options = small(DEIT_NAME, torch.float32, trunk_scale=scale), Train(lr=0.1, weight_decay=0.05)
    found = build_optimizer(model, options)
    schedule = build_scheduler(found, options, steps=4)
    schedule.step_update(4 * options.warmup_epochs)
    highest = max(group["lr"] for group in found.param_groups)
    rates = {id(p): group["lr"] / highest for group in found.param_groups for p in group["params"]}
    for name, p in model.named_parameters():
        if name in ("cls_token", "pos_embed"):  # from scratch they must be learned as well
            assert rates.get(id(p)) == (1.0 if scale == 1 else None)
        else:
            assert rates[id(p)] == pytest.approx(1.0 if name.startswith("score_predictor") else scale)
    decayed = {id(p) for group in found.param_groups if group["weight_decay"] for p in group["params"]}
    assert not decayed & {id(model.cls_token), id(model.pos_embed), id(model.norm.weight)}


# ---- a model among timm's


def test_the_gathered_model_is_few_operators():
    found = []

    def backend(graph, _):
        found.append([n for n in graph.graph.nodes if n.op.startswith("call") and "getitem" not in str(n.target)])
        return graph

    torch._dynamo.reset()
    model = timm.create_model("dynamicvit_deit_small_patch16_224", img_size=32, patch_size=4, embed_dim=24).eval()
    with torch.no_grad():
        torch.compile(model, backend=backend, fullgraph=True)(torch.randn(1, 3, 32, 32))
    assert len(found) == 1
    assert len(found[0]) <= 230


@BOTH
def test_depth_counts_the_layers_of_each_token(name):
    model = small(name)
    with torch.no_grad(), dynvit.trace_tokens(model) as trace:
        model(images())
    assert trace.depth.sum(1).tolist() == [2 * (36 + sum(model.kept))] * 4


def test_counts_follow_the_grid():
    for size in ((24, 40), (48, 48)):
        model, other = small(DEIT_NAME, img_size=size), small(DEIT_NAME)
        other.set_input_size(size)
        assert model.kept == other.kept and model.kept[0] == int(size[0] * size[1] // 16 * 0.7)
    with pytest.raises(ValueError, match="leaves none of 2 tokens"):
        model.set_input_size((4, 8))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"keep_ratio": 0.0}, "keep_ratio must lie in"),
        ({"keep_ratio": 1.5}, "keep_ratio must lie in"),
        ({"keep_ratio": (0.5, 0.6, 0.7)}, "not grow"),
        ({"keep_ratio": (0.5, 0.4)}, "keep_ratio has 2 entries, there are 3 locations"),
        ({"keep_ratio": 0.1}, "leaves none of 36 tokens"),
        ({"locations": (3, 2, 1)}, "locations must be increasing"),
        ({"locations": (3, 8)}, "block numbers below 8"),
        ({"locations": ()}, "locations must be increasing"),
        ({"predictor_eps": 0.0}, "predictor_eps must be positive"),
        ({"ratio_weight": -1.0}, "ratio_weight must not be negative"),
        ({"num_heads": 5}, "not a multiple of num_heads 5"),
    ],
)
@BOTH
def test_wrong_options_say_so(name, options, words):
    with pytest.raises(ValueError, match=words):
        small(name, **options)


def test_wrong_execution_and_checkpoint_say_so():
    model = small(DEIT_NAME)
    with pytest.raises(ValueError, match="execution must be gathered or masked"):
        model.set_execution("dense")
    with pytest.raises(ValueError, match=r"missing: score_predictor"):
        dynvit.load_official(model, timm.create_model("deit_tiny_patch16_224", **DEIT).state_dict())
