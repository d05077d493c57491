"""Data sets: the same split everywhere, an order that the seed alone decides, errors that say what to do."""

import dataclasses
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from dynvit.data.augment import mirror, translate
from dynvit.data.factory import load_data
from dynvit.data.formats.digits import decode
from dynvit.data.in_memory import DecodedSet, InMemoryBatches
from dynvit.data.sampling import stratified_order, stratified_subset
from dynvit.rng import stream
from dynvit.tasks.classify import Augment, Data

RECORDED_LABELS = [2, 8, 1, 0, 5, 3, 7, 6, 4, 9, 2, 1, 3, 8, 5, 7, 0, 4, 6, 9]
RECORDED_SUM = 1800788


def digits(seed=0, batch=64, **options):
    return load_data(Data(name="digits", **options), batch, 128, seed, "cpu")


def collect(batches):
    images, labels = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(labels)


def same(one, other):
    return all(torch.equal(a, b) and torch.equal(c, d) for (a, c), (b, d) in zip(one, other, strict=True))


# ---- digits


def test_digits_split_is_fixed_and_even():
    found = decode(16)
    assert (len(found.train_images), len(found.val_images)) == (1437, 360)
    assert found.val_labels.bincount().tolist() == [36] * 10
    assert found.train_images.shape[1:] == (1, 16, 16)
    assert found.train_images.dtype == torch.uint8
    assert found.train_images.max() == 255
    # Recorded once: another split would change every result of the project.
    assert found.val_labels[:20].tolist() == RECORDED_LABELS
    assert int(decode(8).val_images.long().sum()) == RECORDED_SUM


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    bunch = load_digits()
    found = decode(8)
    images = torch.cat([found.train_images, found.val_images]).view(-1, 64).long()
    expected = torch.from_numpy((bunch.data * 255 / 16).round()).long()
    assert sorted(map(tuple, images.tolist())) == sorted(map(tuple, expected.tolist()))
    order = stratified_order(bunch.target)
    assert found.val_labels.tolist() == bunch.target[order[:360]].tolist()


def test_digits_batches():
    data = digits(image_size=32)
    assert (data.classes, data.channels, data.image_size, data.steps, data.validation_size) == (10, 1, 32, 22, 360)
    images, labels = collect(data.train(0))
    assert images.shape == (22 * 64, 1, 32, 32)
    assert labels.shape == (22 * 64,)
    assert images.mean().abs() < 0.02
    assert (images.std() - 1).abs() < 0.02
    val, val_labels = collect(data.validation())
    assert len(val) == len(val_labels) == 360
    assert torch.equal(data.sample(100), val[:100])
    assert len(data.sample(1000)) == 360


# ---- order


def test_order_is_decided_by_seed_and_epoch():
    augment = Augment(shift=2, flip=True)
    one, other = digits(3, augment=augment), digits(3, augment=augment)
    torch.manual_seed(1)
    first = list(one.train(4))
    torch.rand(100)  # what a model draws meanwhile must not matter
    assert same(first, list(other.train(4)))
    assert not same(first, list(one.train(5)))
    assert not same(first, list(digits(4, augment=augment).train(4)))


def test_an_epoch_can_be_entered_in_the_middle():
    data = digits(augment=Augment(shift=1))
    assert same(list(data.train(2))[7:], list(data.train(2, 7)))
    assert list(data.train(2, data.steps)) == []


def test_each_image_once_per_epoch():
    data = digits(batch=479, image_size=8)  # 3 * 479 = 1437
    images, _ = collect(data.train(0))
    again, _ = collect(data.train(1))
    assert not torch.equal(images, again)
    assert torch.equal(images.flatten(1).sum(1).sort().values, again.flatten(1).sum(1).sort().values)


def test_augmentation_leaves_order_and_labels():
    plain, shifted = digits(), digits(augment=Augment(shift=2))
    (x, y), (x_shifted, y_shifted) = next(plain.train(0)), next(shifted.train(0))
    assert torch.equal(y, y_shifted)
    assert not torch.equal(x, x_shifted)
    assert torch.equal(plain.sample(50), shifted.sample(50))


def test_every_batch_of_every_epoch_is_augmented_anew():
    image = torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8).repeat(40, 1, 1, 1)
    labels = torch.arange(40) % 2
    same_images = DecodedSet(image, labels, image, labels, 2, (0.0,), (1.0,))
    data = InMemoryBatches(same_images, Data(image_size=8, augment=Augment(shift=3)), 20, 20, 0, "cpu")
    batches = [x.flatten() for epoch in (0, 1) for x, _ in data.train(epoch)]
    assert len({tuple(batch.tolist()) for batch in batches}) == 4


# ---- subsets


def test_limits_are_even_over_classes():
    data = digits(limit=100, val_limit=50, batch=10)
    assert (data.steps, data.validation_size) == (10, 50)
    assert collect(data.train(0))[1].bincount().tolist() == [10] * 10
    assert collect(data.validation())[1].bincount().tolist() == [5] * 10


def test_mixed_order_is_a_permutation_with_even_prefixes():
    labels = [0] * 50 + [1] * 30 + [2] * 20
    order = stratified_order(labels)
    assert sorted(order) == list(range(100))
    assert np.bincount(np.asarray(labels)[order[:60]]).tolist() == [20, 20, 20]
    assert stratified_subset(labels, 30).tolist() == order[:30].tolist()
    with pytest.raises(ValueError, match="at least one image"):
        stratified_subset(labels, 0)


def test_fewer_images_than_a_batch():
    with pytest.raises(ValueError, match="digits has 32 training images, fewer than one batch of 64"):
        digits(limit=32)


# ---- some of the classes


def test_some_classes_renumbered_in_the_order_given():
    whole, few = decode(8), digits(batch=25, image_size=8, labels=(7, 2, 5))
    assert (few.classes, few.validation_size, few.steps) == (
        3,
        108,
        int((whole.train_labels[:, None] == torch.tensor([7, 2, 5])).sum()) // 25,
    )
    images, labels = collect(few.validation())
    for new, old in enumerate((7, 2, 5)):
        expected = few._normalize(whole.val_images[whole.val_labels == old])
        found = images[labels == new]
        assert torch.equal(found.flatten(1).sum(1).sort().values, expected.flatten(1).sum(1).sort().values)
    assert collect(digits(batch=10, labels=(7, 2, 5), limit=30).train(0))[1].bincount().tolist() == [10, 10, 10]


def test_expectations_speak_of_what_is_left():
    assert digits(labels=(0, 1), classes=2, images=288).classes == 2
    with pytest.raises(ValueError, match=r"data\.classes expects 10 classes, digits has 2"):
        digits(labels=(0, 1), classes=10)


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ((3,), "two classes or more, not 3 alone"),
        ((3, 1, 3), "labels names 3 more than once"),
        ((-1, 3), "from 0 on, not -1"),
        ((3, 10, 12), r"asks for 10, 12, the classes of digits are 0 to 9"),
    ],
)
def test_classes_that_are_not_there(labels, text):
    with pytest.raises(ValueError, match=text):
        digits(labels=labels)


# ---- augmentation


def test_translation_moves_whole_images_and_brings_in_black():
    x = torch.arange(1, 26, dtype=torch.uint8).view(1, 1, 5, 5).repeat(200, 2, 1, 1)
    moved = translate(x, 2, stream(0, "test"))
    padded = torch.nn.functional.pad(x[0, 0], (2,) * 4)
    windows = {tuple(padded[i : i + 5, j : j + 5].flatten().tolist()) for i in range(5) for j in range(5)}
    seen = {tuple(image[0].flatten().tolist()) for image in moved}
    assert seen == windows  # all 25 offsets occur, nothing else does
    assert torch.equal(moved[:, 0], moved[:, 1])  # channels move together
    assert moved.dtype == torch.uint8


def test_mirror_flips_about_half():
    x = torch.arange(12.0).view(1, 1, 3, 4).repeat(400, 1, 1, 1)
    flipped = [torch.equal(image, x[0].flip(2)) for image in mirror(x, stream(0, "test"))]
    assert 150 < sum(flipped) < 250
    assert all(torch.equal(i, x[0]) for i, f in zip(mirror(x, stream(0, "test")), flipped, strict=True) if not f)


# ---- folders


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Three classes of 8 and 4 images of 12 x 10 pixels whose red tells the class and green the image."""
    monkeypatch.setenv("DYNVIT_WORKERS", "0")
    for split, count in (("train", 8), ("test", 4)):
        for label, name in enumerate(("ant", "bee", "cat")):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = np.full((10, 12, 3), (80 * label, 20 * i, 7), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return tmp_path


def folder(root, batch=6, seed=0, **options):
    return load_data(Data(name="folder", root=str(root), image_size=8, **options), batch, 5, seed, "cpu")


@pytest.mark.parametrize("in_memory", ["always", "never"])
def test_folder(tree, in_memory):
    data = folder(tree, in_memory=in_memory, augment=Augment(scale=(1.0, 1.0)))
    assert (data.classes, data.channels, data.steps, data.validation_size) == (3, 3, 4, 12)
    images, labels = collect(data.train(0))
    assert labels.bincount().tolist() == [8, 8, 8]
    red = images[:, 0].mean((1, 2)) * 0.229 + 0.485
    torch.testing.assert_close(red, labels * 80 / 255, atol=0.02, rtol=0)
    val, val_labels = collect(data.validation())
    assert val.shape == (12, 3, 8, 8)
    assert val_labels[:3].sort().values.tolist() == [0, 1, 2]  # mixed, not class after class
    torch.testing.assert_close(data.sample(7), val[:7])


@pytest.mark.parametrize("in_memory", ["always", "never"])
def test_training_images_can_be_seen_as_they_are(tree, in_memory):
    one, other = (folder(tree, in_memory=in_memory, augment=Augment(flip=flip)) for flip in (False, True))
    (images, labels), (same, _) = collect(one.seen(99)), collect(other.seen(99))
    assert labels.bincount().tolist() == [8, 8, 8] and labels[:3].sort().values.tolist() == [0, 1, 2]
    assert torch.equal(images, same)
    red = images[:, 0].mean((1, 2)) * 0.229 + 0.485
    torch.testing.assert_close(red, labels * 80 / 255, atol=0.02, rtol=0)
    assert [len(some) for _, some in one.seen(7)] == [5, 2] and torch.equal(next(one.seen(7))[0], images[:5])


@pytest.mark.parametrize("in_memory", ["always", "never"])
def test_some_classes_of_a_folder(tree, in_memory):
    data = folder(tree, in_memory=in_memory, labels=(2, 0), classes=2, images=16, augment=Augment(scale=(1.0, 1.0)))
    assert (data.classes, data.steps, data.validation_size) == (2, 2, 8)
    for images, labels in (collect(data.train(0)), collect(data.validation())):
        red = images[:, 0].mean((1, 2)) * 0.229 + 0.485
        torch.testing.assert_close(red, torch.tensor([160.0, 0.0])[labels] / 255, atol=0.02, rtol=0)
    with pytest.raises(ValueError, match=r"data\.labels asks for 3, the classes of folder are 0 to 2"):
        folder(tree, labels=(0, 3))


def test_small_folders_are_kept_in_memory(tree):
    assert type(folder(tree)).__name__ == "InMemoryBatches"
    large = load_data(Data(name="folder", root=str(tree), image_size=96), 6, 5, 0, "cpu")
    assert type(large).__name__ == "StreamingBatches"


def test_files_are_the_same_from_any_worker(tree, monkeypatch):
    options = {"in_memory": "never", "augment": Augment(flip=True, auto="rand-m9-mstd0.5-inc1")}
    one = folder(tree, **options)
    torch.manual_seed(0)
    first, drawn = list(one.train(1)), torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(1))  # decoding in this process leaves its random numbers alone
    monkeypatch.setenv("DYNVIT_WORKERS", "2")
    many = load_data(Data(name="folder", root=str(tree), image_size=8, **options), 6, 5, 0, "cpu")
    assert same(first, list(many.train(1)))
    assert same(first[2:], list(many.train(1, 2)))
    assert not same(first, list(many.train(2)))


def test_root_under_the_variable(tree, monkeypatch):
    monkeypatch.setenv("DYNVIT_DATA", str(tree.parent))
    assert folder(tree.name).classes == 3


def test_folder_errors(tree, tmp_path, monkeypatch):
    monkeypatch.delenv("DYNVIT_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match=r"set data\.root, or DYNVIT_DATA"):
        folder("")
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere .*DYNVIT_DATA is not set"):
        folder("nowhere")
    with pytest.raises(FileNotFoundError, match=r"must hold train/ and val/ \(or test/\).*ant, bee, cat"):
        folder(tree / "train")
    (tree / "test" / "dog").mkdir()
    Image.new("RGB", (8, 8)).save(tree / "test" / "dog" / "0.png")
    with pytest.raises(ValueError, match=r"3 classes in train/, 4 in test/; not in both: dog"):
        folder(tree)


@pytest.mark.parametrize("in_memory", ["always", "never"])
def test_damaged_image_is_named(tree, in_memory):
    (tree / "train" / "bee" / "3.png").write_bytes(b"not an image")
    with pytest.raises(ValueError, match=r"bee.3\.png cannot be read as an image: no image format"):
        list(folder(tree, in_memory=in_memory).train(0))


def test_options_that_do_not_fit_together(tree):
    with pytest.raises(ValueError, match=r"images in memory support rand-\.\.\.-inc1.*set data\.in_memory to never"):
        folder(tree, augment=Augment(auto="rand-m9"))
    with pytest.raises(ValueError, match=r"augment\.shift is for images kept in memory"):
        folder(tree, in_memory="never", augment=Augment(shift=1))


# ---- CIFAR


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """CIFAR-10 in torchvision's form, 40 images per file; its checksums are those of the real one, so not checked."""
    from torchvision.datasets import CIFAR10

    base = tmp_path / "cifar10" / CIFAR10.base_folder
    base.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, _ in CIFAR10.train_list + CIFAR10.test_list:
        table = {"data": rng.integers(0, 256, (40, 3072), dtype=np.uint8), "labels": list(range(10)) * 4}
        (base / name).write_bytes(pickle.dumps(table))
    (base / CIFAR10.meta["filename"]).write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    monkeypatch.setattr(CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setitem(CIFAR10.meta, "md5", None)
    return tmp_path


def test_cifar(cifar, monkeypatch):
    monkeypatch.setenv("DYNVIT_DATA", str(cifar))
    options = Data(name="cifar10", image_size=32, augment=Augment(shift=4, flip=True))
    data = load_data(options, 50, 20, 0, "cpu")
    assert (data.classes, data.channels, data.steps, data.validation_size) == (10, 3, 4, 40)
    x, y = next(data.train(0))
    assert x.shape == (50, 3, 32, 32)
    assert x.dtype == torch.float32
    assert len(y) == 50
    small = load_data(dataclasses.replace(options, image_size=16), 50, 20, 0, "cpu")
    assert next(small.validation())[0].shape == (20, 3, 16, 16)


def test_cifar_absent_and_no_network(tmp_path, monkeypatch):
    from torchvision.datasets import cifar as torchvision_cifar

    def refuse(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision_cifar, "download_and_extract_archive", refuse)
    with pytest.raises(
        FileNotFoundError, match=r"cifar100 is not in .*no route to host.*CIFAR100\(.*download=True"
    ) as e:
        load_data(Data(name="cifar100", root=str(tmp_path / "there"), image_size=32), 50, 20, 0, "cpu")
    assert "DYNVIT_DATA" in str(e.value)
    assert list((tmp_path / "there").iterdir()) == []  # nothing half downloaded is left


# ---- several processes


@pytest.mark.parametrize("augment", [Augment(), Augment(shift=2, flip=True)])
def test_shares_put_together_are_the_whole(augment):
    data = load_data(Data(image_size=8, limit=100, val_limit=70, augment=augment), 16, 32, 0, "cpu")
    whole, parts = list(data.train(1, 2)), [list(data.train(1, 2, (rank, 4))) for rank in range(4)]
    for step, (x_BCSS, target_B) in enumerate(whole):
        assert torch.equal(torch.cat([part[step][0] for part in parts]), x_BCSS)
        assert torch.equal(torch.cat([part[step][1] for part in parts]), target_B)
    taken = [len(target_B) for rank in range(2) for _, target_B in data.validation((rank, 2))]
    assert sorted(taken) == [6, 32, 32]
    assert torch.equal(next(iter(data.validation((1, 2))))[0], list(data.validation())[1][0])


def test_a_batch_that_cannot_be_shared():
    data = load_data(Data(image_size=8, limit=100), 15, 32, 0, "cpu")
    with pytest.raises(ValueError, match=r"train\.batch_size 15 cannot be split evenly over 2 processes"):
        next(iter(data.train(0, 0, (1, 2))))
