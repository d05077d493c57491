"""The one loss that understands every model's output."""

import pytest
import torch
import torch.nn.functional as F

from dynvit import Output, training_loss


@pytest.fixture
def logits_BK():
    return torch.randn(4, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)


TARGET = torch.tensor([0, 1, 2, 3])


def test_plain_logits(logits_BK):
    assert torch.equal(training_loss(logits_BK, TARGET), F.cross_entropy(logits_BK, TARGET))
    smooth = F.cross_entropy(logits_BK, TARGET, label_smoothing=0.1)
    assert torch.equal(training_loss(logits_BK, TARGET, label_smoothing=0.1), smooth)
    assert smooth != F.cross_entropy(logits_BK, TARGET)


def test_weights_of_terms(logits_BK):
    output = Output(logits_BK, {"z": torch.tensor(3.0), "b": torch.tensor(5.0)}, weights={"z": 0.5})
    expected = F.cross_entropy(logits_BK, TARGET) + 0.5 * 3 + 5
    torch.testing.assert_close(training_loss(output, TARGET), expected)


def test_probabilities_as_target_are_not_smoothed_twice(logits_BK):
    soft = F.one_hot(TARGET, 5) * 0.8 + 0.04
    assert torch.equal(training_loss(logits_BK, soft, label_smoothing=0.3), training_loss(logits_BK, soft))


def test_the_papers_own_loss(logits_BK):
    def own(output, target, teacher, smoothing):
        return output.extra["head"].sum() + smoothing + teacher.sum()

    output = Output(logits_BK, {"z": torch.tensor(1.0)}, {"head": torch.ones(2)}, task_loss=own)
    loss = training_loss(output, TARGET, teacher_logits=torch.ones(3), label_smoothing=0.25)
    assert loss.item() == 2 + 0.25 + 3 + 1


def test_gradient_reaches_logits_and_terms(logits_BK):
    z = torch.tensor(2.0, requires_grad=True)
    training_loss(Output(logits_BK, {"z": z * z}, weights={"z": 0.1}), TARGET).backward()
    assert logits_BK.grad.abs().sum() > 0
    torch.testing.assert_close(z.grad, torch.tensor(0.4))
