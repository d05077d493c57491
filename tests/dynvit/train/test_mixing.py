"""Mixup, CutMix and erasing of whole batches, repeated augmentation: by stream, share and label."""

import numpy as np
import pytest
import torch
from PIL import Image
from small_task import config

from dynvit.data.factory import load_data
from dynvit.data.sampling import repeated
from dynvit.rng import stream
from dynvit.tasks.classify import Augment, Data, Mix
from dynvit.train.mixup import BatchAugmentation, erase


def batch(count=8, size=16):
    return torch.arange(count, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 3, size, size), torch.arange(count)


def mixing(augment=None, smoothing=0.0, rank=0, **mix):
    options = config(data={"augment": augment or Augment()}, mix=Mix(**mix), label_smoothing=smoothing)
    return BatchAugmentation(options, 8, seed=0, rank=rank)


def test_nothing_asked_nothing_done():
    x, y = batch()
    mixed, label = mixing()(x, y, 0, 0)
    assert mixed is x
    assert label is y


def test_mixup_mixes_labels_as_images():
    x, y = batch()
    mixed, label = mixing(mixup=0.8)(x, y, 0, 3)
    assert label.shape == (8, 8)
    torch.testing.assert_close(label.sum(1), torch.ones(8))
    torch.testing.assert_close(mixed[:, 0, 0, 0], label @ torch.arange(8.0))
    assert torch.equal(x, batch()[0])  # the batch itself is left alone


def test_cutmix_labels_are_areas():
    x, y = batch()
    mixed, label = mixing(cutmix=1.0)(x, y, 0, 1)
    torch.testing.assert_close(mixed[:, 0].mean((1, 2)), label @ torch.arange(8.0))
    assert set(mixed[0].unique().tolist()) == {0.0, 7.0}


def test_draws_hang_on_epoch_and_step_alone():
    x, y = batch()
    one, other = mixing(mixup=0.8, cutmix=1.0), mixing(mixup=0.8, cutmix=1.0)
    other(x, y, 0, 0)
    torch.rand(5), np.random.rand(5)
    before = torch.get_rng_state()
    assert torch.equal(one(x, y, 2, 5)[0], other(x, y, 2, 5)[0])
    assert torch.equal(before, torch.get_rng_state())  # models draw from there
    assert not torch.equal(one(x, y, 2, 5)[1], one(x, y, 2, 6)[1])
    assert not torch.equal(one(x, y, 2, 5)[1], mixing(mixup=0.8, cutmix=1.0, rank=1)(x, y, 2, 5)[1])


def test_mixing_ends():
    x, y = batch()
    mixed, label = mixing(mixup=0.8, off_epoch=2, smoothing=0.1)(x, y, 2, 0)
    assert torch.equal(mixed, x)
    torch.testing.assert_close(label.diagonal(), torch.full((8,), 0.9 + 0.1 / 8))
    with pytest.raises(ValueError, match="an even number of images in each process, not 7"):
        mixing(mixup=0.8)(x[:7], y[:7], 0, 0)


def test_erased_boxes():
    x = torch.zeros(400, 2, 24, 20)
    erased = erase(x, 0.25, stream(0, "test"))
    touched = (erased != 0).any(1)
    share = touched.flatten(1).any(1).float().mean()
    assert 0.18 < share < 0.32
    area = touched.float().mean((1, 2))
    boxes = area[area > 0]
    assert boxes.min() > 0.005
    assert boxes.max() < 0.36
    assert 0.12 < boxes.mean() < 0.23  # half way between a fiftieth and a third
    for one in touched[area > 0][:20]:  # a box: rows times columns
        assert one.sum() == one.any(1).sum() * one.any(0).sum()
    noise = erased[erased != 0]
    assert abs(noise.mean()) < 0.1
    assert 0.9 < noise.std() < 1.1
    assert torch.equal(erase(x, 0.0, stream(0, "test")), x)


def test_repeated_order():
    order = torch.tensor([4, 2, 0, 3, 1])
    assert repeated(order, 1) is order
    assert repeated(order, 3).tolist() == [4, 4, 4, 2, 2]


@pytest.mark.parametrize("in_memory", ["always", "never"])
def test_copies_are_augmented_apart(tmp_path, monkeypatch, in_memory):
    monkeypatch.setenv("DYNVIT_WORKERS", "0")
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in "ab":
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(6):
                pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / split / name / f"{i}.png")
    shift = 4 if in_memory == "always" else 0
    augment = Augment(shift=shift, flip=True, repeats=3)
    data = load_data(Data("folder", str(tmp_path), image_size=16, in_memory=in_memory, augment=augment), 6, 4, 0, "cpu")
    batches = list(data.train(0))
    assert len(batches) == data.steps == 2
    for x, y in batches:
        assert y.view(2, 3).unique(dim=1).shape[1] == 1  # copies stand side by side
        assert len({image.numpy().tobytes() for image in x}) > 3
    again = list(data.train(0, 1))
    assert torch.equal(again[0][0], batches[1][0])
