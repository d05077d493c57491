"""Own data sets: what a function may return, and what is said of anything else."""

import pickle

import numpy as np
import own_code
import pytest
import torch
from PIL import Image

from dynvit import plugins
from dynvit.config.data import Data
from dynvit.config.extensions import DATA_SETS
from dynvit.data.factory import load_data
from dynvit.data.inspect import inspect_data

HEAD = "import dynvit, numpy as np, torch\nfrom PIL import Image\n"
IMAGES = "I = np.random.RandomState(0).randint(0, 255, (12, 10, 10, 3)).astype(np.uint8)\nL = [0, 1] * 6\n"


def loaded(tmp_path, body, arguments="", register="", **data):
    """What `load_data` makes of a function with this body."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    source = f"{HEAD}{IMAGES}\n@dynvit.register_dataset('own'{register})\ndef made({arguments}):\n{lines}"
    plugins.load(own_code.write(tmp_path, my_data=source))
    return load_data(Data("own", **{"image_size": 10, **data}), 4, 8, 0, "cpu")


@pytest.mark.parametrize(
    "body",
    [
        "return (I, L), (I[:6], L[:6])",
        "T = torch.from_numpy(I).permute(0, 3, 1, 2)\nreturn (T, torch.tensor(L)), (T[:6], torch.tensor(L[:6]))",
        "P = [Image.fromarray(i) for i in I]\nreturn (P, L), (P[:6], L[:6])",
        "return list(zip(I, L)), list(zip(I[:6], L[:6]))",
        "class Set(torch.utils.data.Dataset):\n    def __init__(self, n): self.n, self.targets = n, L[:n]\n"
        "    def __len__(self): return self.n\n    def __getitem__(self, i): return I[i], L[i]\nreturn Set(12), Set(6)",
        "W = [['no', 'yes'][k] for k in L]\nreturn (I, W), (I[:6], W[:6])",
        "import pathlib\nhere = pathlib.Path(__file__).parent\nP = []\nfor k, i in enumerate(I):\n"
        "    P.append(here / f'{k}.png')\n    Image.fromarray(i).save(P[-1])\n"
        "V = [p.with_suffix('.v.png') for p in P[:6]]\n"
        "for p, v in zip(P, V): v.write_bytes(p.read_bytes())\nreturn (P, L), (V, L[:6])",
    ],
)
@pytest.mark.parametrize("in_memory", ["always", "never"])
def test_every_form_gives_the_same_images(tmp_path, quiet, body, in_memory):
    data = loaded(tmp_path, body, in_memory=in_memory)
    x, y = next(iter(data.validation()))
    exact = torch.from_numpy(np.random.RandomState(0).randint(0, 255, (12, 10, 10, 3)).astype(np.uint8))
    assert (data.classes, data.channels, data.validation_size, x.shape[1:]) == (2, 3, 6, (3, 10, 10))
    assert y.sort().values.tolist() == [0, 0, 0, 1, 1, 1]
    if in_memory == "always":
        assert {int(v) for v in data.val_images.sum((1, 2, 3))} == {int(v) for v in exact[:6].sum((1, 2, 3))}
    again = loaded(tmp_path, body, in_memory=in_memory)
    assert all(torch.equal(a, b) for a, b in zip(next(iter(data.train(1))), next(iter(again.train(1))), strict=True))


def test_the_options_of_data_apply(tmp_path, quiet):
    body = "return (I, [0, 1, 2] * 4), (I[:6], [0, 1, 2] * 2), ['a', 'b', 'c']"
    data = loaded(tmp_path, body, labels=(2, 0), limit=6, val_limit=2, classes=2)
    assert (data.classes, data.steps, data.validation_size) == (2, 1, 2)
    with pytest.raises(ValueError, match=r"data\.classes expects 5 classes, own has 3"):
        loaded(tmp_path, body, classes=5)
    assert [r.kind for r in loaded(tmp_path, body).remarks] == ["validation images with the bytes of a training image"]


SET = """class Set(torch.utils.data.Dataset):
    def __init__(self, classes, targets, own=None, change=None):
        self.classes, self.targets, self.own, self.target_transform = classes, targets, own or targets, change
    def __len__(self): return len(self.targets)
    def __getitem__(self, i):
        y = self.own[i]
        return I[i], y if self.target_transform is None else self.target_transform(y)
"""


def test_each_part_counts_its_own_classes(tmp_path, quiet):
    """As folder, tar and wds do: renumbered by name, or refused."""
    same = loaded(tmp_path, f"{SET}return Set(['a', 'b'], L), Set(['b', 'a'], [1, 1, 0])")
    assert same.val_labels.bincount().tolist() == [2, 1]
    other = f"{SET}a, b = Set(['cat', 'dog'], L), Set(['bird', 'cat'], L)\n"
    for returned in ("a, b", "torch.utils.data.Subset(a, range(12)), b"):
        with pytest.raises(ValueError, match="2 classes in train, 2 in val; not in both: bird, dog"):
            loaded(tmp_path, f"{other}return {returned}")


def test_a_changed_target_is_the_label(tmp_path, quiet):
    """As torchvision's `target_transform` changes it, so that the list of classes is that of other numbers."""
    change = "lambda y: {0: 1, 1: 0, 2: 0}[y]"
    body = f"{SET}T = [0, 1, 2] * 4\nreturn [Set(['a', 'b', 'c'], T, change={change}) for _ in range(2)]"
    data = loaded(tmp_path, body)
    assert (data.classes, data.labels.bincount().tolist()) == (2, [8, 4])


@pytest.mark.parametrize("wrap", ["{}", "list(map(Image.fromarray, {}))"])
def test_an_own_image_in_two_classes_is_remarked(tmp_path, quiet, wrap):
    body = f"I[4] = I[1]\nI[2] = I[0]\nV = 255 - I\nreturn ({wrap.format('I')}, L), ({wrap.format('V[6:]')}, L[6:])"
    two, one = loaded(tmp_path, body).remarks
    assert two.text == "train: 2 images with the bytes of an image of another class (train[1], train[4])"
    assert one[3:] == ("train: 1 images with the bytes of another one of their class (train[2])", "note")


def test_copies_are_found_below_the_home_folder(tmp_path, quiet, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    body = (
        f"def saved(name, k):\n    Image.fromarray(I[k]).save(f'{tmp_path}/{{name}}{{k}}.png')\n"
        "    return f'~/{name}{k}.png'\n"
        "return ([saved('t', k) for k in range(12)], L), ([saved('v', k) for k in range(6)], L[:6])"
    )
    assert [r.kind for r in loaded(tmp_path, body).remarks] == ["validation images with the bytes of a training image"]


@pytest.mark.parametrize("in_memory", ["always", "never"])
def test_gray_images(tmp_path, quiet, in_memory):
    data = loaded(
        tmp_path, "return (I[..., :1], L), (I[:6, ..., 0], L[:6])", register=", channels=1", in_memory=in_memory
    )
    x, _ = next(iter(data.train(0)))
    assert data.channels == 1 and x.shape == (4, 1, 10, 10)


def test_root_and_image_size_are_given(tmp_path, quiet):
    (tmp_path / "files").mkdir()
    body = "assert (root, image_size, k) == ({!r}, 10, 3)\nreturn (I, L), (I[:6], L[:6])".format(
        str(tmp_path / "files")
    )
    loaded(tmp_path, body, "root, image_size, k: int = 1", root=str(tmp_path / "files"), options={"k": 3})
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        loaded(tmp_path, body, "root, image_size, k: int = 1", root=str(tmp_path / "nowhere"))


def test_chance_in_the_function_is_the_same_in_every_process(tmp_path, quiet):
    body = "k = torch.randperm(12)\nreturn (I[k], np.asarray(L)[k]), (I[:6], L[:6])"
    first, second = (loaded(tmp_path, body).images for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("return None", r"the data set own \(my_data\.py, line \d+\) returned None; it returns train, val"),
        ("return (I, L), (I, L[:3])", r"own \(my_data\.py, line \d+\) returned for val 12 images and 3 labels"),
        ("return {'a': 1}, (I, L)", r"returned for train dict of 1, not a tuple \(images, labels\) or a sequence"),
        ("return [3, 4], (I, L)", r"returned for train a sequence whose element 0 is int, not \(image, label\)"),
        ("return (I / 255, L), (I, L)", r"train\[0\]: it is float64\[10, 10, 3\], and an array is uint8\[H, W, 3\]"),
        (
            "T = torch.from_numpy(I)\nreturn (T, L), (T, L)",
            r"train\[0\]: it is uint8\[10, 10, 3\], and a tensor is uint8\[3, H, W\]",
        ),
        ("return (I, L), (I, L), ['only']", r"train: 6 labels are not from 0 to 0, as the classes are"),
        ("return (I, ['a', 'b'] * 6), (I, L), ['a', 'bb']", r"returned the label b, which is no class"),
        ("return (I, [0.5] * 12), (I, L)", r"returned the label 0\.5: a label is the number or the name of a class"),
        ("return (I, [0] * 12), (I, L)", r"train: all 12 images in own \(my_data\.py, line \d+\) are of one class, 0"),
        ("return (I, np.eye(2)[L]), (I, L)", r"returned labels that are rows of 2: labels are one number or name each"),
        ("return (I, [None] * 12), (I, L)", r"returned the label None: labels are one number or name each"),
        ("return (I, [0.0, float('inf')] * 6), (I, L)", r"returned the label inf: labels are one number or name each"),
        (
            "return (I, [7, 2_000_000_123] * 6), (I, L)",
            r"own \(my_data\.py, line \d+\) returned the label 2000000123, and the numbers of .*: return ids as",
        ),
        ("return (I, [0, 10**30] * 6), (I, L), ['a', 'b']", r"returned the label 1000000000000000000000000000000, and"),
        (
            "return (I, L), (I, L), ['dog', 'cat', 'dog']",
            r"own \(my_data\.py, line \d+\): the names of the classes 0 and 2 are both dog: give each class its own",
        ),
        ("return (I, L), (I, L), ['\\u00e9', 'e\\u0301']", r"the names of the classes 0 and 1 are both e"),
        ("return (I, L), (I[:0], [])", r"val: own \(my_data\.py, line \d+\) returned no images for val"),
        (
            "return (I, L), (I, np.add(L, 5))",
            r"train: own \(my_data\.py, line \d+\) returned no image of 5 of 7 classes \(2, 3, 4 and 2 more\)",
        ),
        (
            "P = [f'/tmp/{k}.nowhere.png' for k in range(12)]\nreturn (P, L), (P, L)",
            r"none of the 12 files for train is there: /tmp/0\.nowhere\.png",
        ),
        (
            "import pathlib\np = pathlib.Path(__file__).parent / 'same.png'\nImage.fromarray(I[0]).save(p)\n"
            "P = [p, p.with_name('b')] * 6\nreturn (P, L), ([p, p], [0, 1])",
            r"own \(my_data.*: train and val have 2 files in common: val\[0\] is train\[10\], .*same\.png",
        ),
        (f"{SET}return Set(2, L), Set(2, L)", r"own \(.*\) returned the classes 2: classes are a list"),
        (
            f"{SET}return Set(None, L), Set(None, L, L[1:])",
            r"returned for val a set whose element 0 has the label 1, and \.targets 0",
        ),
        ("return 1 / 0", r"the data set own \(my_data\.py, line \d+\) fails: my_data\.py, line \d+: ZeroDivisionError"),
        (
            "class Set(list):\n    def __getitem__(self, i): return super().__getitem__(i) if i < 5 else {}['x']\n"
            "s = Set(zip(I, L)); s.targets = L\nreturn s, (I, L)",
            r"train\[\d+\] cannot be read as an image: my_data\.py, line \d+: KeyError: 'x'",
        ),
    ],
)
def test_wrong_returns_give_a_sentence(tmp_path, quiet, body, text):
    with pytest.raises((ValueError, FileNotFoundError), match=text):
        loaded(tmp_path, body)


def test_doctor_looks_at_it(tmp_path, quiet):
    plugins.load(own_code.write(tmp_path, my_data=own_code.DATA))
    found = list(inspect_data(Data("leaves", image_size=12), 8))
    assert ("fine", "train: 40 images in 2 classes, 20 each", "") in found
    assert {level for level, *_ in found} == {"fine"}
    *_, (level, text, _) = inspect_data(Data("leaves", options={"count": 0}), 8)
    assert (level, text) == ("attention", "train: leaves (my_data.py, line 5) returned no images for train")


def test_images_of_other_modes_are_converted(tmp_path, quiet):
    data = loaded(tmp_path, "P = [Image.fromarray(i).convert('P') for i in I]\nreturn (P, L), (P, L)")
    assert data.val_images.shape == (12, 3, 10, 10)
    assert Image.fromarray(data.val_images[0].permute(1, 2, 0).numpy()).mode == "RGB"
    assert list(DATA_SETS) == ["own"]


def test_loader_processes_read_it_too(tmp_path, quiet, monkeypatch):
    body = "return list(zip(I, L)), (I[:6], L[:6])"
    alone = next(iter(loaded(tmp_path, body, in_memory="never").train(0)))
    monkeypatch.setenv("DYNVIT_WORKERS", "2")
    both = next(iter(loaded(tmp_path, body, in_memory="never").train(0)))
    assert all(torch.equal(a, b) for a, b in zip(alone, both, strict=True))


@pytest.mark.parametrize("part", ["list(zip(I, L))", "Pairs()", "(I, L)", "([Image.fromarray(i) for i in I], L)"])
def test_loader_processes_that_are_started_anew_can_be_handed_it(tmp_path, quiet, part):
    """As on macOS, and by Python 3.14: a loader's images are pickled there."""
    pairs = "class Pairs:\n    def __len__(self): return 12\n    def __getitem__(self, i): return I[i], L[i]\n"
    source = f"{HEAD}{IMAGES}{pairs}\n@dynvit.register_dataset('own')\ndef made():\n    return {part}, (I[:6], L[:6])\n"
    plugins.load(own_code.write(tmp_path, my_data=source))
    data = load_data(Data("own", image_size=10, in_memory="never"), 4, 8, 0, "cpu")
    images, again = data.train_set, pickle.loads(pickle.dumps(data.train_set))
    assert torch.equal(images[0, 3][0], again[0, 3][0])
