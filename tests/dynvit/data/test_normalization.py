"""Mean and deviation of images from files: ImageNet's, given ones, or those that timm's weights of the model expect."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from PIL import Image

from dynvit.config.classify import Config
from dynvit.config.data import Data
from dynvit.config.source import Source
from dynvit.config.teacher import Teacher
from dynvit.config.train import Train
from dynvit.data.factory import load_data
from dynvit.data.normalization import resolved
from dynvit.describe.check import check
from dynvit.train.warnings import config_warnings

AUGREG, DEIT = "vit_small_patch16_224.augreg_in1k", "deit_small_patch16_224"
CLIP = "vit_base_patch16_clip_224.openai_ft_in1k"
IMAGENET, HALVES = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), ((0.5,) * 3, (0.5,) * 3)
OPENAI = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Two classes, all pixels 51, 102, 204."""
    monkeypatch.setenv("DYNVIT_WORKERS", "0")
    for split in ("train", "val"):
        for name in "ab":
            (tmp_path / split / name).mkdir(parents=True)
            Image.fromarray(np.full((8, 8, 3), (51, 102, 204), np.uint8)).save(tmp_path / split / name / "0.png")
    return str(tmp_path)


@pytest.mark.parametrize("in_memory", ["always", "never"])
@pytest.mark.parametrize(
    ("normalize", "model", "expected"),
    [
        ("imagenet", AUGREG, IMAGENET), ("model", AUGREG, HALVES), ("model", CLIP, OPENAI), ("model", DEIT, IMAGENET),
        ("model", "evo_deit_tiny_patch16_224", IMAGENET), ([[0.1, 0.2, 0.3], [0.25, 0.5, 1.0]], AUGREG, None),
    ],
)  # fmt: skip
def test_images_are_normalized_as_the_weights_expect(root, in_memory, normalize, model, expected):
    data = Data(name="folder", root=root, image_size=8, in_memory=in_memory, normalize=normalize)
    batches = load_data(resolved(data, model), 2, 2, 0, "cpu")
    mean, std = map(torch.tensor, expected or normalize)
    pixel_C = (torch.tensor([0.2, 0.4, 0.8]) - mean) / std
    for images in (batches.sample(2), next(iter(batches.train(0)))[0], next(iter(batches.validation()))[0]):
        torch.testing.assert_close(images, pixel_C.view(1, 3, 1, 1).expand(2, 3, 8, 8))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "digits", "normalize": "model"}, "normalize is for images from files; digits has its own"),
        ({"name": "folder", "normalize": [[0.5], [0.5]]}, "a mean and a deviation for each of three channels"),
        ({"name": "folder", "normalize": [[123.675, 116.28, 103.53], [58.395, 57.12, 57.375]]}, "divided by 255"),
        ({"name": "folder", "normalize": [[0.5] * 3, [0.5, 0.5, 0.0]]}, "deviations above 0 and at most 1"),
    ],
)
def test_what_cannot_be_normalized_says_so(options, words):
    with pytest.raises(ValueError, match=words):
        Data(**options)


def test_weights_that_expect_another_normalization_are_a_caution(root):
    def cautions(model, **options):
        data = Data(name="folder", root=root, **options)
        return config_warnings(Config(model={"name": model}, data=data, init="timm", train=Train(epochs=0)))

    assert cautions(AUGREG) == [
        f"timm's weights of {AUGREG} expect images normalized to mean (0.5, 0.5, 0.5), deviation (0.5, 0.5, 0.5): "
        "data.normalize: model"
    ]
    assert cautions(AUGREG, normalize="model") == cautions(AUGREG, normalize=HALVES) == cautions(DEIT) == []


def test_so_are_those_of_a_teacher_and_those_on_the_source(root):
    data = Data(name="folder", root=root)
    taught = Config(data=data, teacher=Teacher(model={"name": AUGREG}, pretrained=True))
    (text,) = config_warnings(taught)
    assert text.startswith(f"timm's weights of the teacher {AUGREG} expect images normalized to mean (0.5, 0.5, 0.5), ")
    assert text.endswith("data.normalize: [[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]]")
    assert config_warnings(replace(taught, data=replace(data, normalize=HALVES))) == []
    source = Source(2, replace(data, root=f"{root}/train"))
    model = {"name": AUGREG}
    both = config_warnings(Config(model, replace(data, normalize="model"), init="timm", source=source))
    (text,) = (text for text in both if "expect" in text)
    assert text.endswith(": source.data.normalize: model")


def test_a_tag_that_timm_lacks_is_a_fault_of_the_model():
    config = Config(model={"name": "vit_small_patch16_224.nope"}, data=Data(name="folder", classes=2), init="timm")
    answer = check("classify", asdict(config))
    assert "nope" in answer["models"]["model"] and "cautions" not in answer
