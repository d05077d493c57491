"""Augmentation of a batch on its device against timm's of single images."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import auto_augment

from dynvit.data import randaugment as ours
from dynvit.data.augment import cut_out
from dynvit.data.factory import load_data
from dynvit.data.in_memory import DecodedSet, InMemoryBatches
from dynvit.data.posterize import posterize
from dynvit.data.randaugment import OPERATIONS, Policy
from dynvit.data.streaming import _transform
from dynvit.rng import stream
from dynvit.tasks.classify import Augment, Data

COLOURS = {
    ours.auto_contrast: "AutoContrast",
    ours.equalize: "Equalize",
    ours.invert: "Invert",
    ours.posterize: "PosterizeIncreasing",
    ours.solarize: "SolarizeIncreasing",
    ours.solarize_add: "SolarizeAdd",
    ours.color: "ColorIncreasing",
    ours.contrast: "ContrastIncreasing",
    ours.brightness: "BrightnessIncreasing",
    ours.sharpness: "SharpnessIncreasing",
}
PLACES = {
    ours.rotate: "Rotate",
    ours.shear_x: "ShearX",
    ours.shear_y: "ShearY",
    ours.translate_x: "TranslateXRel",
    ours.translate_y: "TranslateYRel",
}


def picture(size=24):
    """Smooth, so that interpolation matters little, and not using all of the range."""
    y, x = torch.meshgrid(torch.linspace(0, 3, size), torch.linspace(0, 3, size), indexing="ij")
    planes = [60 + 50 * torch.sin(x + i) + 40 * torch.cos(y * (i + 1) / 2) + 40 for i in range(3)]
    return torch.stack(planes).round().clamp(0, 255).to(torch.uint8)


def pil(x_CHW):
    return Image.fromarray(x_CHW.permute(1, 2, 0).numpy())


def by_timm(name, x_CHW, level, sign, monkeypatch):
    monkeypatch.setattr(auto_augment, "_randomly_negate", lambda v: sign * v)
    hparams = {"img_mean": (128,) * 3, "interpolation": Image.BILINEAR, "magnitude_std": 0.0}
    operation = auto_augment.AugmentOp(name, prob=1.0, magnitude=level, hparams=hparams)
    return torch.from_numpy(np.array(operation(pil(x_CHW)))).permute(2, 0, 1).float()


def by_ours(operation, x_CHW, level, sign):
    levels, signs = torch.tensor(level / 10).view(1, 1, 1, 1), torch.tensor(float(sign)).view(1, 1, 1, 1)
    return operation(x_CHW[None].float(), levels, signs)[0].round().clamp(0, 255)


def test_the_operations_are_timms():
    assert {COLOURS.get(o) or PLACES.get(o) for o in OPERATIONS} == set(auto_augment._RAND_INCREASING_TRANSFORMS)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("level", [0.0, 4.0, 9.0])
@pytest.mark.parametrize("operation", COLOURS, ids=lambda o: o.__name__)
def test_colors(operation, level, sign, monkeypatch):
    x = picture()
    difference = (by_ours(operation, x, level, sign) - by_timm(COLOURS[operation], x, level, sign, monkeypatch)).abs()
    assert difference.max() <= 1  # rounding


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("level", [0.0, 4.0, 9.0])
@pytest.mark.parametrize("operation", PLACES, ids=lambda o: o.__name__)
def test_places(operation, level, sign, monkeypatch):
    x = picture(40)
    difference = (by_ours(operation, x, level, sign) - by_timm(PLACES[operation], x, level, sign, monkeypatch)).abs()
    assert difference.median() <= 2
    assert difference.mean() < 6  # where grey comes in the rim is half a pixel off


def test_policy_reads_timms_notation():
    assert Policy.parse("rand-m9-mstd0.5-inc1") == Policy(9, 2, 0.5, 0.5)
    assert Policy.parse("rand-m7-n3-p0.9-mstdinf-inc1") == Policy(7, 3, math.inf, 0.9)
    assert Policy.parse("rand-mstd101-inc1") == Policy(10, 2, math.inf, 0.5)  # as timm: above 100 they are uniform
    for text in ("rand-m9", "augmix-m5", "rand-m9-mmax12-inc1"):
        with pytest.raises(ValueError, match=r"images in memory"):
            Policy.parse(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rand_m9", "auto rand_m9: there is no policy rand_m9; did you mean 'rand'"),
        ("foo", "there is no policy foo; there are rand, augmix, original"),
        ("rand-m9-mst0.5-inc1", "mst0.5 is no part of rand; those are m, n, p, mstd, mmax, inc, t, each"),
        ("rand-m9-n2.7-inc1", "n2.7 is no part of rand"),
        ("rand-m9-nn-inc1", "nn is no part of rand"),
        ("original-m9", "m9 is no part of original; those are mstd"),
    ],
)
def test_a_part_that_timm_does_not_read_is_named(text, said):
    with pytest.raises(ValueError, match=said):
        Augment(auto=text)


@pytest.mark.parametrize("text", ["rand-m9-n3-mstd0.5-mmax12-t3aw-inc1", "augmix-m5-w4-d2-a1-b1", "v0-mstd0.5", "3a"])
def test_timm_reads_what_is_accepted(text):
    _transform(Data("folder", image_size=224, augment=Augment(auto=text)), True)


def test_noise_without_bounds_is_the_same_from_files():
    """timm passes over mstdinf."""
    data = Data("folder", image_size=224, augment=Augment(auto="rand-m9-mstdinf-inc1"))
    policy = next(each for each in _transform(data, True).transforms if hasattr(each, "ops"))
    assert {operation.magnitude_std for operation in policy.ops} == {math.inf}


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("auto", ["rand-m10-n1-p1-inc1", "rand-m20-n1-p1-mmax20-inc1", "rand-m2-n1-p1", "v0"])
def test_posterizing_to_no_bits_gives_black_images_from_files_too(auto, mode):
    """timm asks Pillow to keep 0 bits, or fewer, at the strongest; newer versions of Pillow refuse."""
    transform = _transform(Data("folder", image_size=224, augment=Augment(auto=auto)), True)
    step = next(each for each in transform.transforms if hasattr(each, "ops") or hasattr(each, "policy"))
    operations = getattr(step, "ops", []) or [each for some in step.policy for each in some]
    image, found = pil(picture()).convert(mode), set()
    for operation in operations:
        if operation.name.startswith("Posterize"):
            operation.prob = 1.0
            found.add(max(least_most[1] for least_most in np.reshape(operation(image).getextrema(), (-1, 2))))
    assert min(found) == 0


def test_the_strongest_posterization_is_the_same_from_files():
    x, strongest = picture(), torch.ones(1, 1, 1, 1)
    single = torch.from_numpy(np.array(posterize(pil(x), 0)))
    assert torch.equal(
        ours.posterize(x[None].float(), strongest, strongest)[0].to(torch.uint8).permute(1, 2, 0), single
    )


@pytest.mark.parametrize("noise", ["mstdinf", "mstd0.5"])
def test_no_draw_is_above_the_highest_level(noise):
    """As in timm, where only mmax allows for more than 10."""
    levels = Policy.parse(f"rand-m15-{noise}-inc1")._draw_levels(2000, stream(0, "a"))
    assert levels.max() == 1
    if noise == "mstdinf":  # a third of what is drawn up to 15
        assert 0.28 < (levels == 1).float().mean() < 0.39


def test_a_batch_is_augmented_by_its_own_draws():
    x = picture(16).repeat(300, 1, 1, 1)
    policy = Policy.parse("rand-m9-mstd0.5-inc1")
    found = policy.apply(x, stream(0, "a"))
    assert (found.dtype, found.shape) == (torch.uint8, x.shape)
    assert torch.equal(found, policy.apply(x, stream(0, "a")))
    assert not torch.equal(found, policy.apply(x, stream(0, "b")))
    untouched = sum(torch.equal(a, b) for a, b in zip(found, x, strict=True))
    assert 50 < untouched < 120  # a quarter, and those that an operation leaves as they are


def test_gray_images_too():
    x = picture(16)[:1].repeat(200, 1, 1, 1)
    assert Policy(9, 4, 0.5, 1.0).apply(x, stream(0, "a")).shape == x.shape


def test_cutout():
    x = torch.full((400, 3, 8, 8), 7, dtype=torch.uint8)
    found = cut_out(x, 4, torch.tensor([1, 2, 3], dtype=torch.uint8), stream(0, "c"))
    gone_BHW = (found != 7).all(1)
    assert gone_BHW.flatten(1).sum(1).max() == 16
    assert gone_BHW.flatten(1).sum(1).min() == 4  # at a corner
    assert gone_BHW.any(0).all()
    assert found[gone_BHW[:, None].expand_as(found)].unique().tolist() == [1, 2, 3]


def test_training_batches_are_augmented_and_resumed(monkeypatch):
    image = picture(16).repeat(40, 1, 1, 1)
    decoded = DecodedSet(image, torch.arange(40) % 2, image, torch.arange(40) % 2, 2, (0.5,) * 3, (0.25,) * 3)
    options = Data(image_size=16, augment=Augment(shift=2, flip=True, auto="rand-m9-inc1", cutout=4))
    data = InMemoryBatches(decoded, options, 10, 10, 0, "cpu")
    whole = list(data.train(1))
    assert len({tuple(x.flatten(1).sum(1).tolist()) for x, _ in whole}) == 4
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(whole[2:], data.train(1, 2), strict=True))
    halves = [list(data.train(1, 0, (rank, 2))) for rank in range(2)]
    assert torch.equal(torch.cat([halves[0][0][0], halves[1][0][0]]), whole[0][0])
    assert torch.equal(next(data.validation())[0][0], next(data.validation())[0][1])


def test_policy_of_a_config():
    data = load_data(Data(image_size=8, limit=100, augment=Augment(auto="rand-m9-inc1")), 50, 50, 0, "cpu")
    plain = load_data(Data(image_size=8, limit=100), 50, 50, 0, "cpu")
    assert not torch.equal(next(data.train(0))[0], next(plain.train(0))[0])


def test_several_batches_at_once_and_taken_up_in_their_middle():
    """What a policy does to a batch does not depend on where an attempt begins."""
    data = load_data(Data(image_size=8, limit=200, augment=Augment(flip=True, auto="rand-m9-inc1")), 20, 50, 0, "cpu")
    assert isinstance(data, InMemoryBatches)
    assert data.steps == 10
    assert data.batches_per_policy > data.steps
    for at_once in (data.batches_per_policy, 4, 1):
        data.batches_per_policy = at_once
        whole = [x_BCSS for x_BCSS, _ in data.train(3)]
        for start in (1, 4, 7, 9):
            rest = [x_BCSS for x_BCSS, _ in data.train(3, start)]
            assert len(rest) == data.steps - start
            assert all(torch.equal(one, other) for one, other in zip(rest, whole[start:], strict=True))
    assert not torch.equal(whole[0], next(iter(data.train(4)))[0])
