"""A-ViT as a model: its losses, options, and timm's conventions."""

import math

import pytest
import torch
import torch.nn.functional as F
from parity import largest_difference
from small_baselines import images, small

import dynvit
from dynvit.models.a_vit.halting import divergence, prior

NAME = "avit_deit_tiny_patch16_224"
EARLY_HALTING = {"gate_scale": 3.0, "gate_center": 1.5}
TARGET = torch.tensor([0, 3, 1, 4])


def test_the_prior_of_the_paper_and_of_the_released_code():
    ours, official = prior(12, 8.0, exact=False), prior(12, 8.0, exact=True)
    assert abs(ours.sum().item() - 1) < 1e-12
    assert ours.argmax().item() == 8
    assert abs(official[:8].sum().item() - 0.98) < 1e-12
    assert round(official.sum().item(), 2) == 3.26
    assert torch.allclose(official / official.sum(), ours)


def test_the_distribution_loss_by_hand():
    scores = torch.tensor([[0.2, 0.6, 0.1], [0.4, 0.2, 0.1]], dtype=torch.float64)
    target = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    mean = [0.3, 0.4, 0.1]
    share = [m / 0.8 for m in mean]
    expected = sum(t * (math.log(t) - math.log(s)) for t, s in zip(target.tolist(), share, strict=True)) / 3
    assert abs(divergence(scores, target).item() - expected) < 1e-12
    same = torch.tensor([[0.02, 0.03, 0.05]]).double()
    assert abs(divergence(same, target).item()) < 1e-12
    assert divergence(same, 0.5 * target).item() == 0  # negative: nothing
    low = divergence(torch.tensor([[1.0, 1e-9, 1.0]]).double(), target)
    assert abs(low.item() - divergence(torch.tensor([[1.0, 0.01, 1.0]]).double() / 2, target).item()) < 0.05


@pytest.mark.parametrize("exact", [False, True])
def test_which_scores_enter(exact):
    model, x = small(NAME, exact=exact, **EARLY_HALTING).train(), images()
    seen, gate = [], model.halting_score

    class Watched:
        eps = gate.eps

        def __call__(self, tokens):
            seen.append(gate(tokens))
            return seen[-1]

    model.halting_score = Watched()
    output = model(x)
    scores = torch.stack(seen, -1)  # every block's own, stopped tokens and the last block included
    assert scores.shape == (4, 37, 8)
    chosen = scores[1:] if exact else scores[:, 1:]
    expected = divergence(chosen.flatten(0, 1), prior(8, 8.0, exact))
    assert torch.equal(output.losses["distribution"], expected)
    other = scores[:, 1:] if exact else scores[1:]
    assert divergence(other.flatten(0, 1), prior(8, 8.0, exact)) != expected


def test_exact_needs_two_images():
    model = small(NAME, exact=True).train()
    with pytest.raises(ValueError, match="needs at least two"):
        model(images(1))
    assert small(NAME).train()(images(1)).losses["distribution"].isfinite()


def test_the_loss_and_its_gradients():
    model = small(NAME, ponder_weight=0.2, distribution_weight=0.3, **EARLY_HALTING).train()
    output = model(images())
    loss = dynvit.training_loss(output, TARGET)
    expected = F.cross_entropy(output.logits, TARGET)
    expected = expected + 0.2 * output.losses["ponder"] + 0.3 * output.losses["distribution"]
    assert abs((loss - expected).item()) < 1e-12
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    model.zero_grad()
    model(images()).losses["ponder"].backward()
    assert model.blocks[0].mlp.fc2.bias.grad[0].abs() > 0  # more halting, less pondering
    assert model.blocks[0].mlp.fc2.bias.grad[0] < 0


def test_training_and_evaluation_agree():
    model, x = small(NAME, **EARLY_HALTING), images()
    with torch.no_grad():
        assert largest_difference(model(x), model.train()(x).logits) < 1e-9


def test_gradients_in_evaluation():
    model, gradients = small(NAME, **EARLY_HALTING), []
    for execution in ("gathered", "masked"):
        model.set_execution(execution)
        x = images().requires_grad_()
        model(x).square().sum().backward()
        gradients.append(x.grad)
    assert largest_difference(*gradients) < 1e-9


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"eps": 0.0}, "eps must be positive"),
        ({"eps": 1.0}, "eps must be below 1"),
        ({"gate_scale": 0.0}, "gate_scale must be positive"),
        ({"ponder_weight": -1.0}, "ponder_weight must not be negative"),
        ({"exact": True, "prior_mean": 9.0}, "prior_mean must be between 1 and the depth 8"),
        ({"num_heads": 5}, "not a multiple of num_heads 5"),
    ],
)
def test_wrong_options_say_so(options, words):
    with pytest.raises(ValueError, match=words):
        small(NAME, **options)
    with pytest.raises(ValueError, match="execution must be gathered or masked"):
        small(NAME).set_execution("dense")
