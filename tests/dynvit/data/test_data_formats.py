"""The same images from folders, tar files, shards and the hub; unreadable ones; what is expected of a set."""

import io
import sys
import tarfile
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from made_images import CLASSES, COUNTS, add, folders, images, shards, tar_of_folders, tar_of_tars, tar_per_class
from PIL import Image
from small_task import Folder

from dynvit.context import NullContext
from dynvit.data.factory import load_data
from dynvit.data.inspect import inspect_data
from dynvit.data.streaming import without_ends
from dynvit.tasks.classify import Augment, Data
from dynvit.train.evaluate import evaluate

FORMS = {
    "folder": ("folder", folders),
    "tar": ("tar", tar_of_folders),
    "tar-per-class": ("tar", tar_per_class),
    "tar-of-tars": ("tar", tar_of_tars),
    "wds": ("wds", shards),
    "wds-json": ("wds", lambda root: shards(root, "json", info=True)),
}


pytestmark = pytest.mark.usefixtures("quiet")


def opened(name, root, batch=6, **options):
    options = {"image_size": 8, "in_memory": "never", "augment": Augment(scale=(1.0, 1.0)), **options}
    return load_data(Data(name=name, root=str(root), **options), batch, 5, 0, "cpu")


def content(batches):
    """(label, red, green) of each image, sorted: what is in the set, whatever its order."""
    found = []
    for x_BCSS, labels_B in batches:
        red_B = (x_BCSS[:, 0].mean((1, 2)) * 0.229 + 0.485) * 255
        green_B = (x_BCSS[:, 1].mean((1, 2)) * 0.224 + 0.456) * 255
        found += [(int(y), round(float(r)), round(float(g))) for y, r, g in zip(labels_B, red_B, green_B, strict=True)]
    return sorted(found)


def wanted(split):
    return sorted((label, 80 * label, 20 * number) for _, label, number, _ in images(split))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("in_memory", ["always", "never"])
def test_every_form_holds_the_same_images(form, in_memory, tmp_path):
    (tmp_path / "set").mkdir()
    name, make = FORMS[form]
    data = opened(name, make(tmp_path / "set"), in_memory=in_memory)
    assert (data.classes, data.steps, data.validation_size) == (3, 4, 12)
    assert content(data.train(0)) == wanted("train")
    assert content(data.validation()) == wanted("test")


@pytest.mark.parametrize("form", ["tar", "tar-of-tars", "wds"])
def test_workers_and_a_start_in_the_middle_change_nothing(form, tmp_path, monkeypatch):
    (tmp_path / "set").mkdir()
    name, make = FORMS[form]
    root = make(tmp_path / "set")
    options = {"augment": Augment(flip=True, auto="rand-m9-mstd0.5-inc1")}
    alone = opened(name, root, **options)
    alone.sample(5)  # this process has the tar files open when its workers are forked
    whole = list(alone.train(1))
    monkeypatch.setenv("DYNVIT_WORKERS", "2")
    many = opened(name, root, **options)
    many.sample(5)
    for start in (0, 2):
        found = list(many.train(1, start))
        assert len(found) == 4 - start
        for (x, y), (x_many, y_many) in zip(whole[start:], found, strict=True):
            assert torch.equal(x, x_many) and torch.equal(y, y_many)


def test_shards_are_indexed_once(tmp_path, monkeypatch):
    from dynvit.data.formats import webdataset as module

    (tmp_path / "set").mkdir()
    shards(tmp_path / "set")
    opened("wds", tmp_path / "set")
    monkeypatch.setattr(module, "_read", lambda tar: pytest.fail(f"{tar} was read again"))
    assert content(opened("wds", tmp_path / "set").train(0)) == wanted("train")


def test_limits_are_even_over_the_classes_of_shards(tmp_path):
    (tmp_path / "set").mkdir()
    data = opened("wds", shards(tmp_path / "set"), limit=9, batch=3)
    assert torch.cat([y for _, y in data.train(0)]).bincount().tolist() == [3, 3, 3]


# ---- the hub


class ClassLabel:
    names, str2int = list(CLASSES), staticmethod(CLASSES.index)


class Column:
    """What of `datasets.Dataset` timm's reader uses."""

    def __init__(self, rows, image="image", labels=("label",)):
        self.rows = rows
        self.features = {image: type("Image", (), {})(), **{label: ClassLabel() for label in labels}}
        self.info = types.SimpleNamespace(features=self.features, splits=None)

    def cast_column(self, key, kind):
        return self

    def remove_columns(self, key):
        return [{k: v for k, v in row.items() if k != key} for row in self.rows]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return [row[index] for row in self.rows] if isinstance(index, str) else self.rows[index]


@pytest.fixture
def hub(monkeypatch):
    def load_dataset(name, split, cache_dir=None, **_):
        if name != "us/tiny" or split not in COUNTS:
            raise ValueError(f'Unknown split "{split}". Should be one of {list(COUNTS)}.')
        return Column([{"label": y, "image": {"bytes": b, "path": None}} for _, y, _, b in images(split)])

    module = types.ModuleType("datasets")
    module.load_dataset, module.Image, module.__version__ = load_dataset, lambda decode: None, "3.0"
    monkeypatch.setitem(sys.modules, "datasets", module)
    for name in [name for name in sys.modules if name.endswith(("reader_hfds", "readers._hfds"))]:
        monkeypatch.delitem(sys.modules, name)


def test_hub(hub):
    data = load_data(
        Data(name="hfds", repository="us/tiny", image_size=8, in_memory="never", augment=Augment(scale=(1.0, 1.0))),
        6, 5, 0, "cpu",
    )  # fmt: skip
    assert (data.classes, data.validation_size) == (3, 12)
    assert content(data.train(0)) == wanted("train")
    assert content(data.validation()) == wanted("test")
    with pytest.raises(ValueError, match=r"us/tiny has no split dev: Unknown split"):
        load_data(Data(name="hfds", repository="us/tiny", splits=("train", "dev")), 6, 5, 0, "cpu")


@pytest.mark.parametrize("image", ["image", "img"])
@pytest.mark.parametrize("label", ["label", "fine_label"])
def test_columns_of_the_hub_may_have_other_names(hub, monkeypatch, image, label):
    """uoft-cs/cifar10 has img and label."""

    def load_dataset(name, split, cache_dir=None, **_):
        if split not in COUNTS:
            raise ValueError(f"Unknown split {split}")
        return Column([{label: y, image: {"bytes": b, "path": None}} for _, y, _, b in images(split)], image, (label,))

    monkeypatch.setattr(sys.modules["datasets"], "load_dataset", load_dataset)
    data = opened("hfds", "", repository="us/tiny")
    assert content(data.train(0)) == wanted("train")
    assert content(data.validation()) == wanted("test")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            ("fine_label", "coarse_label"),
            "has no column label, and fine_label, coarse_label are of type ClassLabel; its",
        ),
        ((), r"has no column label, and none is of type ClassLabel; its columns are img\. A data set of own code"),
    ],
)
def test_columns_of_the_hub_that_cannot_be_told_are_named(hub, monkeypatch, labels, message):
    monkeypatch.setattr(sys.modules["datasets"], "load_dataset", lambda name, **_: Column([], "img", labels))
    data = Data(name="hfds", repository="us/tiny", image_size=8)
    with pytest.raises(ValueError, match=message) as error:
        load_data(data, 6, 5, 0, "cpu")
    assert [*inspect_data(data, 6)] == [("attention", str(error.value), "")]


def test_hub_without_its_package(monkeypatch):
    from dynvit.data.formats import huggingface as hub

    monkeypatch.delitem(sys.modules, "datasets", raising=False)
    monkeypatch.setattr(hub, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install datasets"):
        load_data(Data(name="hfds", repository="us/tiny"), 6, 5, 0, "cpu")


# ---- what cannot be read


def spoil(root, count):
    for i in range(count):
        (root / "train" / "bee" / f"{i}.png").write_bytes(b"not an image" if i % 2 else b"")
    whole = (root / "test" / "cat" / "0.png").read_bytes()
    (root / "test" / "cat" / "0.png").write_bytes(whole[: len(whole) // 2])


@pytest.mark.parametrize("in_memory", ["always", "never"])
@pytest.mark.parametrize("workers", ["0", "2"])
def test_unreadable_images_are_left_out_and_named(tmp_path, in_memory, workers, monkeypatch):
    monkeypatch.setenv("DYNVIT_WORKERS", workers)
    spoil(folders(tmp_path), 2)
    data = opened("folder", tmp_path, in_memory=in_memory, max_corrupt=3, batch=4)
    train, val = list(data.train(0)), content(data.validation())
    assert all(len(y) == 4 for _, y in train)
    assert {entry for entry in content(train) if entry[0] == 1} == {(1, 80, 20 * i) for i in range(2, 8)}
    assert val == [entry for entry in wanted("test") if entry != (2, 160, 0)]
    assert sorted(name.replace(str(tmp_path), "") for name in data.corrupt.found) == [
        "/test/cat/0.png", "/train/bee/0.png", "/train/bee/1.png",
    ]  # fmt: skip
    assert data.sample(12).shape[0] == 11


@pytest.mark.parametrize("in_memory", ["always", "never"])
def test_more_than_the_limit_is_an_error_with_the_first_names(tmp_path, in_memory):
    spoil(folders(tmp_path), 4)
    with pytest.raises(ValueError, match=r"images, data\.max_corrupt is 2: .*bee.\d\.png cannot be read as an image: "):
        list(opened("folder", tmp_path, in_memory=in_memory, max_corrupt=2, batch=4).train(0))


ELONGATED = {"wide": (20_000, 1), "tall": (3, 20_001), "known": (12, 10)}


def elongated(size):
    """A png whose red is 80 at its middle and 0 at its ends: as `encoded` of label 1."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    (rows, columns), half = pixels.shape[:2], 3 * min(size)
    middle = [slice(max(0, n // 2 - half), n // 2 + half) for n in (rows, columns)]
    pixels[middle[0], middle[1], 0] = 80
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "png")
    return out.getvalue()


@pytest.mark.parametrize("form", ["folder", "tar", "wds"])
@pytest.mark.parametrize("kind", ELONGATED)
def test_no_side_of_an_elongated_image_is_enlarged_without_limit(form, kind, tmp_path, monkeypatch):
    (tmp_path / "set").mkdir()
    name, make = FORMS[form]
    root, content_of = make(tmp_path / "set"), elongated(ELONGATED[kind])
    if form == "folder":
        (root / "test" / "bee" / "long.png").write_bytes(content_of)
    else:
        with tarfile.open(root / ("test.tar" if form == "tar" else "tiny-test-0001.tar"), "a") as tar:
            members = [("bee/long.png", content_of)] if form == "tar" else [("l.png", content_of), ("l.cls", b"1")]
            for member in members:
                add(tar, *member)
    data, made, real = opened(name, root), [], Image.Image.resize
    monkeypatch.setattr(
        Image.Image, "resize",
        lambda self, size, *rest, **more: made.append(size) or real(self, size, *rest, **more),
    )  # fmt: skip
    found = content(data.validation())
    assert sum(size[0] * size[1] for size in made) < 13 * 10 * 10 + 10 * 100 and len(made) == 13
    assert sorted([*wanted("test"), (1, 80, 0)]) == found


@pytest.mark.parametrize("size", [(1, 40), (41, 1), (2, 33), (160, 16), (16, 1600)])
@pytest.mark.parametrize("image_size", [8, 33])
def test_the_ends_that_are_cut_off_are_never_seen(size, image_size, tmp_path):
    """Of sizes whose longer side needs no rounding after the resize, which may move the middle by half a pixel."""
    shown = opened("folder", folders(tmp_path), image_size=image_size).val_set.transform
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    short = without_ends(image)
    assert max(short.size) in (8 * min(size), 8 * min(size) + 1) and min(short.size) == min(size)
    assert (shown(image) - shown(short)).abs().max() < 0.04  # two of 255


@pytest.mark.parametrize("size", [(80, 10), (10, 80), (79, 10), (12, 10), (1, 1), (8, 1)])
def test_other_images_are_resized_whole(size):
    image = Image.new("RGB", size)
    assert without_ends(image) is image


@pytest.mark.parametrize("workers", ["0", "1"])
@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("odd")])
def test_an_image_that_cannot_be_augmented_is_named(tmp_path, workers, error, monkeypatch):
    monkeypatch.setenv("DYNVIT_WORKERS", workers)
    data = opened("folder", folders(tmp_path), max_corrupt=3)

    def fails(image):
        raise error

    data.train_set.transform = data.val_set.transform = fails
    reason = f"of 12 x 10 pixels cannot be resized and augmented: {type(error).__name__}"
    for batches, split in ((data.train(0), "train"), (data.validation(), "test")):
        with pytest.raises(ValueError, match=rf"{split}/\w+/\d\.png {reason}"):
            list(batches)


def test_a_tar_file_that_ends_too_early(tmp_path):
    tar_of_folders(tmp_path)
    data = opened("tar", tmp_path, max_corrupt=1)
    file = tmp_path / "train.tar"
    with open(file, "r+b") as f:
        f.truncate(data.train_set.split.source.members[-1].offset + 10)
    list(data.train(0))
    assert [why.endswith("ends within cat/7.png") for why in data.corrupt.found.values()] == [True]


# ---- what is wanted and what is there


def test_expectations(tmp_path):
    folders(tmp_path)
    assert opened("folder", tmp_path, classes=3, images=24).classes == 3
    with pytest.raises(ValueError, match=r"data\.classes expects 1000 classes, folder has 3"):
        opened("folder", tmp_path, classes=1000)
    with pytest.raises(ValueError, match=r"data\.images expects 25 training images, folder has 24"):
        opened("folder", tmp_path, images=25)
    with pytest.raises(ValueError, match=r"data\.classes expects 9 classes, digits has 10"):
        load_data(Data(classes=9), 6, 5, 0, "cpu")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tar", r"must hold train\.tar and val\.tar .*it has notes\.txt"),
        ("wds", "shards with train and with val as a word of their names"),
    ],
)
def test_nothing_there(tmp_path, name, message):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(FileNotFoundError, match=message):
        opened(name, tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "hfds"}, "hfds needs repository"),
        ({"name": "folder", "repository": "a/b"}, "repository is for hfds, not for folder"),
        ({"splits": ("train",)}, "splits names two"),
        ({"limit": 0}, "limit must be at least 1"),
        ({"max_corrupt": -1}, "max_corrupt must not be negative"),
        ({"augment": Augment(auto="augmix-m5")}, r"support rand-\.\.\.-inc1 .*, not augmix-m5"),
        ({"name": "tar", "image_size": 224, "augment": Augment(cutout=8)}, "cutout is for images kept in memory"),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        Data(**options)


def test_other_numbers_of_workers_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("DYNVIT_WORKERS", "many")
    with pytest.raises(ValueError, match="DYNVIT_WORKERS is the number of decoding processes, not many"):
        opened("folder", folders(tmp_path))


def test_images_are_png(tmp_path):
    assert all(io.BytesIO(content).read(4) == b"\x89PNG" for *_, content in images("train"))


# ---- a trial


class RecordingContext(NullContext):
    """A context that records the log."""

    def __init__(self, folder):
        super().__init__(folder=folder)
        self.logged = []

    def log_text(self, text):
        self.logged.append(text)


def test_a_trial_reports_skipped_images(tmp_path):
    from dynvit.tasks.classify import Config, Evaluation, Train, run

    spoil(folders(tmp_path), 2)
    data = Data(name="folder", root=str(tmp_path), image_size=8, max_corrupt=3, in_memory="never")
    model = {"name": "deit_tiny_patch16_224", "patch_size": 4, "embed_dim": 12, "depth": 1, "num_heads": 2}
    context = RecordingContext(tmp_path)
    train = Train(epochs=2, batch_size=4, warmup_epochs=0)
    result = run(Config(model, data, train, evaluation=Evaluation(timed_batches=1)), context)
    assert result["metrics"]["corrupt_images"] == 3
    assert [name.rsplit("/", 2)[1:] for name in result["left_out"]] == [
        ["cat", "0.png"],
        ["bee", "0.png"],
        ["bee", "1.png"],
    ]
    assert [metrics["corrupt_images"] for _, metrics in context.history] == [3, 3]
    assert sum("left out: " in line for line in context.logged) == 3  # each once
    assert "data" not in result  # nothing else was left out


@pytest.mark.parametrize("older", [False, True])
def test_a_resumed_trial_remembers_skipped_images(tmp_path, older):
    """The broken images of the first epoch are not in the batches after the stop: nobody draws them a second time."""
    from dynvit.context import Stopped
    from dynvit.tasks.classify import Config, Evaluation, Train, run

    spoil(folders(tmp_path / "set"), 3)
    data = Data(name="folder", root=str(tmp_path / "set"), image_size=8, max_corrupt=6, in_memory="never")
    model = {"name": "deit_tiny_patch16_224", "patch_size": 4, "embed_dim": 12, "depth": 1, "num_heads": 2}
    train = Train(epochs=2, batch_size=4, warmup_epochs=0)
    options = Config(model, data, train, evaluation=Evaluation(timed_batches=1))
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    contexts = [Folder(tmp_path / name) for name in ("whole", "parts", "parts")]
    contexts[1].stop_at = 13  # the last update of the second epoch, of six, and one boundary after each epoch
    whole = run(options, contexts[0])
    with pytest.raises(Stopped):
        run(options, contexts[1])
    if older:
        file = contexts[1].load()
        saved = torch.load(file, weights_only=True)
        torch.save({key: value for key, value in saved.items() if key != "corrupt"}, file)
    resumed = run(options, contexts[2])
    if not older:
        assert [values["corrupt_images"] for _, values in contexts[2].history] == [4]
        assert whole["metrics"]["corrupt_images"] == resumed["metrics"]["corrupt_images"]
        assert whole["left_out"] == resumed["left_out"]
        logged = [[text for text in context.logged if "left out: " in text] for context in contexts]
        assert logged[0] == logged[1] + logged[2]


@pytest.mark.parametrize("in_memory", ["always", "never"])
def test_a_trial_reports_what_the_listing_left_out(tmp_path, in_memory):
    from dynvit.tasks.classify import Config, Evaluation, Train, run

    folders(tmp_path)
    for name in (".DS_Store", "Thumbs.db", "x.heic"):
        (tmp_path / "train" / "bee" / name).write_bytes(b"")
    (tmp_path / "train" / "notes.txt").write_text("")
    (tmp_path / "test" / "bee" / "copy.png").write_bytes((tmp_path / "train" / "bee" / "0.png").read_bytes())
    data = Data(name="folder", root=str(tmp_path), image_size=8, in_memory=in_memory)
    model = {"name": "deit_tiny_patch16_224", "patch_size": 4, "embed_dim": 12, "depth": 1, "num_heads": 2}
    context = RecordingContext(tmp_path)
    train = Train(epochs=1, batch_size=4, warmup_epochs=0)
    result = run(Config(model, data, train, evaluation=Evaluation(timed_batches=1)), context)
    assert result["data"] == {
        "train/": {"hidden or of an operating system": 2, "no image by the ending": 1, "an ending that is not read": 1},
        "test/": {"validation images with the bytes of a training image": 1},
    }
    logged = [line for line in context.logged if line.startswith("data: ")]
    assert logged[0] == "data: train/: 2 left out, hidden or of an operating system (bee/.DS_Store, bee/Thumbs.db)"
    assert len(logged) == 4


@pytest.mark.parametrize("in_memory", ["always", "never"])
def test_a_split_of_which_nothing_can_be_read(tmp_path, in_memory):
    for file in (folders(tmp_path) / "test").rglob("*.png"):
        file.write_bytes(f"no image {file}".encode())
    with pytest.raises(ValueError, match=r"none of 12 (validation )?images can be read"):
        list(opened("folder", tmp_path, in_memory=in_memory, max_corrupt=12).validation())


def test_other_images_of_which_nothing_can_be_read(tmp_path):
    """Those that choose the best epoch would all be of equal worth; the gap to training images would divide by none."""
    root = folders(tmp_path)
    data = opened("folder", root, in_memory="never", max_corrupt=99, batch=4, choose=3)
    for file in (root / "train").rglob("*.png"):
        file.write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"none of 3 choosing \(data\.choose\) images can be read"):
        list(data.choosing())
    with pytest.raises(ValueError, match="none of 2 training images can be read"):
        list(data.seen(2))
    assert list(data.choosing((0, 2))) == []  # other processes may have some
    group = types.SimpleNamespace(shard=(0, 2), all_gather=lambda mine: [mine, mine])
    with pytest.raises(ValueError, match=r"none of the choosing \(data\.choose\) images can be read"):
        evaluate(torch.nn.Identity(), data, 0, None, group, choosing=True)


@pytest.mark.parametrize("in_memory", ["always", "never"])
def test_a_sample_is_of_images_that_can_be_read(tmp_path, in_memory):
    data = opened("folder", folders(tmp_path), in_memory="never")
    for i in range(2):
        Path(data.val_set.split.name(i)).write_bytes(b"no image")
    data = opened("folder", tmp_path, in_memory=in_memory, max_corrupt=2)
    assert len(data.sample(0)) == 0 and len(data.sample(1)) == 1 and len(data.sample(99)) == 10
    whole = torch.cat([x for x, _ in data.validation()])
    assert torch.equal(data.sample(3), whole[:3])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ((-1,) * 12, r"test: 12 labels are not from 0 to 2.*-1 of us/tiny/test\[0\]"),
        ((1,) * 12, "test: all 12 images in us/tiny are of one class, bee"),
        ((0, 2) * 6, "test: no image of 1 classes \\(bee\\) in us/tiny"),
        ((), "test: no images with a label in us/tiny"),
        ((0.4, 1.6) * 6, r"^us/tiny/test returned the label 0\.4: a label is the number or the name of a class"),
        ((None,) * 12, "^us/tiny/test returned the label None: labels are one number or name each"),
        (("cat", "dog") * 6, "^us/tiny/test returned the label dog, which is no class"),
    ],
)
def test_labels_of_the_hub(hub, monkeypatch, labels, message):
    whole = sys.modules["datasets"].load_dataset
    rows = [{"label": label, "image": {"bytes": b"", "path": None}} for label in labels]
    monkeypatch.setattr(
        sys.modules["datasets"], "load_dataset",
        lambda name, split, **options: Column(rows) if split == "test" else whole(name, split, **options),
    )  # fmt: skip
    with pytest.raises(ValueError, match=message):
        load_data(Data(name="hfds", repository="us/tiny", image_size=8), 6, 5, 0, "cpu")
