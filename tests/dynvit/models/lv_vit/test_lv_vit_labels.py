"""Token labeling: MixToken, labels of patches and where they come from."""

import math

import pytest
import torch
import torch.nn.functional as F
from small_baselines import images, small

import dynvit
from dynvit.models.lv_vit.mix_token import random_box, swap

TARGET = torch.tensor([0, 3, 1, 4])


def seeded(model, seed=3):
    model.generator = torch.Generator().manual_seed(seed)
    return model.train()


def mixed_output(model, x):
    """An output whose box is neither empty nor everything."""
    for seed in range(20):
        output = seeded(model, seed)(x)
        if 0.2 < output.extra["lam"] < 0.8:
            return output, seed
    raise AssertionError("no such box among twenty")


def test_boxes_are_rectangles_of_the_area_of_cutmix():
    generator, areas = torch.Generator().manual_seed(0), []
    for _ in range(400):
        box = random_box((10, 14), torch.device("cpu"), generator).view(10, 14)
        areas.append(box.float().mean().item())
        if box.any():
            rows, columns = box.any(1), box.any(0)
            assert torch.equal(box, rows[:, None] & columns)
            for side in (rows, columns):
                place = side.nonzero()[:, 0]
                assert len(place) == place[-1] - place[0] + 1
    assert min(areas) == 0
    # by the definition: lengths 2 floor(floor(n side) / 2) around a uniform cell, clipped, averaged over lam
    expected = 0.0
    for k in range(2000):
        side, parts = math.sqrt((k + 0.5) / 2000), []
        for n in (10, 14):
            half = int(n * side) // 2
            parts.append(sum(min(m + half, n) - max(m - half, 0) for m in range(n)) / n / n)
        expected += parts[0] * parts[1] / 2000
    assert abs(sum(areas) / 400 - expected) < 0.05


def test_tokens_in_the_box_come_from_the_flipped_batch_and_return():
    x, box = torch.randn(4, 9, 2), torch.arange(9) < 4
    mixed = swap(x, box)
    assert torch.equal(mixed[:, :4], x.flip(0)[:, :4])
    assert torch.equal(mixed[:, 4:], x[:, 4:])
    assert torch.equal(swap(mixed, box), x)


def test_the_loss_is_that_of_the_paper():
    model, x = small("lvvit_tiny", w_dense=0.7), images()
    output, seed = mixed_output(model, x)
    loss = dynvit.training_loss(output, TARGET)
    # by hand: the same box, tokens swapped after the stem, patch logits swapped back
    model.generator = torch.Generator().manual_seed(seed)
    box = random_box((6, 6), x.device, model.generator)
    tokens = model.norm(model.blocks(model._pos_embed(swap(model.patch_embed(x), box))))
    class_logits, patch_logits = model.head(tokens[:, 0]), model.aux_head(tokens[:, 1:])
    lam = 1 - box.double().mean()
    hot = F.one_hot(TARGET, 5).double()
    expected = F.cross_entropy(class_logits, lam * hot + (1 - lam) * hot.flip(0))
    own = torch.where(box[:, None], hot.flip(0)[:, None], hot[:, None])  # label of what each patch shows
    dense = -(own * patch_logits.log_softmax(-1)).sum(-1).mean()
    assert abs(loss.item() - (expected + 0.7 * dense).item()) < 1e-6  # lam is a float32 number
    assert abs(output.losses["dense"].item() - dense.item()) < 1e-12
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("source", ["set", "teacher patches", "teacher image", "image", "mixup", "smoothing"])
def test_where_the_patch_labels_come_from(source):
    model, x = small("lvvit_tiny", mix_token=False).train(), images()
    given = torch.randn(4, 36, 5, dtype=torch.float64).softmax(-1)
    scores = torch.randn(4, 36, 5, dtype=torch.float64)
    target, teacher, smoothing = TARGET, None, 0.0
    labels = F.one_hot(TARGET, 5).double()[:, None].expand(-1, 36, -1)
    if source == "set":
        model.set_token_labels(given, given.mean(1))
        labels = given
    elif source == "teacher patches":
        teacher, labels = scores, scores.softmax(-1)
    elif source == "teacher image":
        teacher = scores[:, 0]
        labels = teacher.softmax(-1)[:, None].expand(-1, 36, -1)
    elif source == "mixup":
        target = given[:, 0]
        labels = target[:, None].expand(-1, 36, -1)
    elif source == "smoothing":
        smoothing = 0.1
        labels = 0.9 * labels + 0.1 / 5
    output = model(x)
    loss = dynvit.training_loss(output, target, teacher_logits=teacher, label_smoothing=smoothing)
    dense = -(labels * output.extra["aux"].log_softmax(-1)).sum(-1).mean()
    label = given.mean(1) if source == "set" else target
    expected = F.cross_entropy(output.logits, label, label_smoothing=smoothing)
    assert abs(output.losses["dense"].item() - dense.item()) < 1e-12
    assert abs(loss.item() - (expected + dense).item()) < 1e-12
    again = model(x)  # labels are of one batch
    assert "token_labels" not in again.extra


def test_without_the_patch_loss_the_evaluation_logits_are_trained():
    model, x = small("lvvit_tiny", w_dense=0.0), images()
    for norm in (model.patch_embed.bn1, model.patch_embed.bn2, model.patch_embed.bn3):
        norm.eval()
    expected = model(x)
    model.train()
    for norm in (model.patch_embed.bn1, model.patch_embed.bn2, model.patch_embed.bn3):
        norm.eval()
    assert torch.equal(model(x), expected)


def test_labels_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"token labels must be \[B, 36, 5\]"):
        small("lvvit_tiny").set_token_labels(torch.rand(4, 5, 36))
