"""Doctor finds what a trial would fail of: the images that `data.choose` leaves, augmentation where the images are."""

import pytest
from made_images import folders

from dynvit.config.classify import Config
from dynvit.config.data import Augment, Data
from dynvit.config.train import Train
from dynvit.config.warnings import warnings
from dynvit.data import in_memory
from dynvit.data.factory import load_data
from dynvit.data.inspect import inspect_data

CASES = [
    (Data("folder", choose=24), "data.choose 24 leaves nothing to train on of 24 training images"),
    (Data("folder", choose=18), "folder has 6 training images, fewer than one batch of 8"),
    (Data("folder", choose=10, limit=7), "folder has 7 training images, fewer than one batch of 8"),
    (Data("folder", augment=Augment(auto="3a")), "data.augment.auto: images in memory support rand-...-inc1 with"),
    (Data("folder", augment=Augment(auto="rand-m9")), "data.augment.auto: images in memory support rand-...-inc1 with"),
    (Data("digits", choose=1437), "data.choose 1437 leaves nothing to train on of 1437 training images"),
    (Data("folder", choose=16, augment=Augment(auto="rand-m9-inc1", shift=1)), ""),
    (Data("folder", in_memory="never", augment=Augment(auto="3a")), ""),
]


def ends(data: Data, root: str) -> tuple[list[str], str]:
    """What doctor needs attention for, and what a trial ends with."""
    found = Data(**{**vars(data), "root": root if data.name == "folder" else "", "image_size": 8})
    attention = [text for level, text, _ in inspect_data(found, 8) if level == "attention"]
    try:
        load_data(found, 8, 8, 0, "cpu")
    except ValueError as error:
        return attention, str(error)
    return attention, ""


@pytest.mark.parametrize(("data", "said"), CASES)
def test_doctor_says_what_the_trial_would(data, said, tmp_path, monkeypatch):
    monkeypatch.setenv("DYNVIT_WORKERS", "0")
    attention, error = ends(data, str(folders(tmp_path)))
    assert error.startswith(said)
    assert attention == ([error] if said else [])


def test_images_beyond_what_is_kept_are_not_shifted(tmp_path, monkeypatch):
    monkeypatch.setenv("DYNVIT_WORKERS", "0")
    monkeypatch.setattr(in_memory, "MAX_BYTES", 30 * 3 * 8 * 8)  # 36 images in both splits
    root, data = str(folders(tmp_path)), Data("folder", augment=Augment(shift=1))
    assert ends(data, root)[0] == [ends(data, root)[1]] != [""]
    assert ends(Data("folder", limit=18, augment=Augment(shift=1)), root) == ([], "")
    assert ends(Data("folder", augment=Augment(auto="3a")), root) == ([], "")


def test_plan_warns_of_augmentation_that_images_in_memory_lack():
    def said(**data):
        return [text for text in warnings(Config(data=Data("folder", **data), train=Train())) if "auto" in text]

    (text,) = said(image_size=32, augment=Augment(auto="3a"))
    assert "not 3a; those of folder, of 32 pixels, are up to 2 GB kept in memory, and their trials fail" in text
    assert text.endswith("(data.in_memory: never)")
    assert not said(image_size=32, in_memory="never", augment=Augment(auto="3a"))
    assert not said(image_size=128, augment=Augment(auto="3a"))
    assert not said(image_size=32, augment=Augment(auto="rand-m9-mstd0.5-inc1"))
