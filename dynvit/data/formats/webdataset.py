"""WebDataset shards, indexed: each sample an image with its `.cls` (a number) or `.json` (its field `label`).

timm and the webdataset package read shards as a stream, whose order depends on how many processes read, and which a
resumed trial would have to read again from the start. Here the tar headers are read once (and kept in the
cache) and images are then read by offset: the order depends on the seed alone, as with folders.

A split's shards are those that `_info.json` lists for it, or all whose names contain its name: imagenet1k-train-*.tar.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from dynvit.config.data import Data
from dynvit.data.formats.tar_members import Member, TarMembers
from dynvit.data.paths import cache_folder, find_root
from dynvit.data.source import Split, split_names

IMAGES = ("jpg", "jpeg", "png", "webp", "ppm")
Sample = tuple[int, int, str, int]
"""Offset, size, name, label."""


def splits(data: Data) -> tuple[Split, Split]:
    root = find_root(data)
    first, rest = split_names(data)
    train = _shards(root, first)
    name, val = next(((name, found) for name in rest if (found := _shards(root, name))), ("", []))
    if not train or not val:
        here = ", ".join(sorted(p.name for p in root.iterdir())[:6]) or "nothing"
        raise FileNotFoundError(
            f"{root} must hold shards *{first}*.tar and *{rest[0]}*.tar, or list them in _info.json; it has {here}"
        )
    (train_members, train_labels), (val_members, val_labels) = _listed(train), _listed(val)
    names = _class_names(root) or [str(i) for i in range(1 + max(train_labels.max(), val_labels.max()))]
    classes = tuple(names)
    return Split(first, classes, train_members, train_labels), Split(name, classes, val_members, val_labels)


def _shards(root: Path, split: str) -> list[Path]:
    info = _info(root).get("splits", {}).get(split)
    if info:
        return [root / file for file in info["filenames"]]
    return sorted({*root.glob(f"*{split}*.tar"), *(root / split).glob("*.tar")})


def _info(root: Path) -> dict[str, Any]:
    file = next((root / name for name in ("_info.json", "info.json") if (root / name).is_file()), None)
    return json.loads(file.read_text()) if file else {}


def _class_names(root: Path) -> list[str]:
    """Read classes.txt, one name per line; empty if there is none."""
    file = root / "classes.txt"
    return file.read_text().splitlines() if file.is_file() else []


def _listed(tars: list[Path]) -> tuple[TarMembers, Any]:
    with ThreadPoolExecutor(8) as pool:  # waits for the disk, mostly
        found = list(pool.map(_index, tars))
    members = [Member(i, *sample[:3]) for i, samples in enumerate(found) for sample in samples]
    labels = np.asarray([sample[3] for samples in found for sample in samples], dtype=np.int64)
    if not members:
        raise ValueError(
            f"{tars[0].parent}: no images with a .cls or .json file of the same name in {len(tars)} shards"
        )
    return TarMembers(tuple(tars), tuple(members)), labels


def _index(tar: Path) -> list[Sample]:
    """List a shard's samples; cached by the shard's name, size and modification time."""
    stat = tar.stat()
    key = hashlib.sha256(f"{tar.resolve()} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()[:20]
    file = cache_folder() / "shards" / f"{key}.json"
    try:
        return [tuple(sample) for sample in json.loads(file.read_text())]
    except (OSError, ValueError):
        samples = list(_read(tar))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}.{os.getpid()}")
        temporary.write_text(json.dumps(samples))
        os.replace(temporary, file)
    except OSError:  # a read-only home: the shards are indexed again next time
        pass
    return samples


def _read(tar: Path) -> Iterator[Sample]:
    image: tuple[str, int, int, str] | None = None
    label: int | None = None
    stem = ""
    with tarfile.open(tar, "r:") as opened:
        for entry in opened:
            if not entry.isfile():
                continue
            folder, _, file = entry.name.rpartition("/")
            base, _, ending = file.partition(".")
            if f"{folder}/{base}" != stem:
                stem, image, label = f"{folder}/{base}", None, None
            if ending.lower() in IMAGES:
                image = (entry.name, entry.offset_data, entry.size, ending)
            elif ending in ("cls", "json"):
                content = opened.extractfile(entry)
                label = _label(content.read() if content else b"", ending, f"{tar}:{entry.name}", label)
            if image is not None and label is not None:
                yield image[1], image[2], image[0], label
                image = None


def _label(text: bytes, ending: str, where: str, before: int | None) -> int | None:
    if ending == "json" and before is not None:
        return before
    try:
        value = json.loads(text)
        return int(value) if ending == "cls" else (int(value["label"]) if "label" in value else before)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where} holds no label: {error}") from error
