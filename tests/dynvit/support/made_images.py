"""A little image set in every form the project reads: folders, tar files, WebDataset shards, a hub's data set."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("ant", "bee", "cat")
COUNTS = {"train": 8, "test": 4}


def encoded(label: int, number: int, size: tuple[int, int] = (12, 10), blue: int = 7) -> bytes:
    """A png whose red tells the class and whose green tells the image."""
    pixels = np.full((size[1], size[0], 3), (80 * label, 20 * number, blue), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "png")
    return out.getvalue()


def images(split: str):
    """(class name, label, number, bytes) of all images of a split; no two splits have the same image."""
    for label, name in enumerate(CLASSES):
        for number in range(COUNTS[split]):
            yield name, label, number, encoded(label, number, blue=7 if split == "train" else 9)


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def folders(root: Path) -> Path:
    for split in COUNTS:
        for name, _, number, content in images(split):
            file = root / split / name / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    return root


def tar_of_folders(root: Path) -> Path:
    """train.tar and test.tar, a folder per class in each."""
    for split in COUNTS:
        with tarfile.open(root / f"{split}.tar", "w") as tar:
            for name, _, number, content in images(split):
                add(tar, f"{name}/{number}.png", content)
    return root


def tar_per_class(root: Path) -> Path:
    for split in COUNTS:
        (root / split).mkdir()
        for wanted in CLASSES:
            with tarfile.open(root / split / f"{wanted}.tar", "w") as tar:
                for name, _, number, content in images(split):
                    if name == wanted:
                        add(tar, f"{number}.png", content)
    return root


def tar_of_tars(root: Path) -> Path:
    for split in COUNTS:
        with tarfile.open(root / f"{split}.tar", "w") as tar:
            for wanted in CLASSES:
                inner = io.BytesIO()
                with tarfile.open(fileobj=inner, mode="w") as child:
                    for name, _, number, content in images(split):
                        if name == wanted:
                            add(child, f"{number}.png", content)
                add(tar, f"{wanted}.tar", inner.getvalue())
    return root


def shards(root: Path, label: str = "cls", info: bool = False) -> Path:
    """Two shards a split, three images in turn from every class."""
    listed = {}
    for split in COUNTS:
        every = sorted(images(split), key=lambda image: image[2])
        for i in range(2):
            with tarfile.open(root / f"tiny-{split}-{i:04d}.tar", "w") as tar:
                for name, number, count, content in every[i::2]:
                    key = f"{name}_{count}"
                    text = str(number) if label == "cls" else json.dumps({"label": number, "more": [1]})
                    pair = [(f"{key}.png", content), (f"{key}.{label}", text.encode())]
                    for file in pair if count % 2 else reversed(pair):  # either may come first
                        add(tar, *file)
        listed[split] = {"filenames": [f"tiny-{split}-{i:04d}.tar" for i in range(2)]}
    if info:
        (root / "_info.json").write_text(json.dumps({"splits": listed}))
        (root / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    return root
