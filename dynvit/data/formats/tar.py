"""Tar files of images as timm reads them: a tar file per class, or one with a folder (or tar file) per class.

The root holds train.tar and val.tar (validation.tar, test.tar), or folders of those names with tar files in them, each
of a class or with a folder per class. A folder around all classes is passed over; a class may hold folders.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from dynvit.config.data import Data
from dynvit.data.listing.archive import Archive, read_archive, read_members
from dynvit.data.listing.cache import cached
from dynvit.data.listing.left_out import Kind, LeftOut, file_kind
from dynvit.data.listing.names import ending, is_system, listed, natural_key, system_part
from dynvit.data.listing.tar_members import Member, TarMembers
from dynvit.data.paths import find_root, spelled
from dynvit.data.source import Listing, Split, split_names

Folder = tuple[str, ...]


def splits(data: Data) -> Listing:
    train, val = find_splits(data)
    root, unused = find_root(data), LeftOut()
    for name in sorted(os.listdir(root)):
        used = root / name in (train, val, *train.parents, *val.parents)
        if not used and (is_system(name) or _is_tar(name) or (root / name).is_dir()):
            unused.add(Kind.SYSTEM if is_system(name) else Kind.UNUSED, name)
    return Listing(_listed(train), _listed(val), str(root), unused)


def find_splits(data: Data) -> list[Path]:
    """Return the tar files, or folders of them, of the training and of the validation images. Raises
    FileNotFoundError."""
    root = find_root(data)
    words = ([word for words in groups for word in words] for groups in split_names(data))
    train, val = (next((path for word in some if (path := _find(root, word))), None) for some in words)
    if train is None or val is None:
        first, second = data.splits or ("train", "val")
        raise FileNotFoundError(
            f"{root} must hold {first}.tar and {second}.tar (or folders {first}/ and {second}/ of tar files); "
            f"it has {listed(sorted(os.listdir(root)), 8) or 'nothing'}"
        )
    return [train, val]


def _find(root: Path, word: str) -> Path | None:
    """Return a split's tar file or folder of tar files; a name in data.splits may be a path."""
    file, folder = spelled(root, f"{word}.tar"), spelled(root, word)
    if file.is_file():
        return file
    return folder if folder.is_dir() and any(map(_is_tar, os.listdir(folder))) else None


def _is_tar(name: str) -> bool:
    return ending(name) == "tar" and not is_system(name)


def _listed(path: Path) -> Split:
    left_out, damaged, images = LeftOut(), {}, _Images()
    files = [path] if path.is_file() else _tar_files(path, left_out)
    for number, file in enumerate(files):
        stem, prefix = ("", "") if path.is_file() else (file.stem, f"{file.name}:")
        found = cached(file, "tar", _read)
        left_out.merge(LeftOut(found["left_out"]), prefix)
        damaged |= {str(file): found["damage"]} if found["damage"] else {}
        for part in found["parts"]:
            images.add(part, part["stem"] or stem, number, prefix, left_out)
        if stem and not any(part["images"] for part in found["parts"]):
            left_out.add(Kind.EMPTY, file.name)
    return images.split(path, files, left_out, damaged)


def _tar_files(folder: Path, left_out: LeftOut) -> list[Path]:
    """Return the tar files of a folder in timm's order."""
    found = []
    for name in os.listdir(folder):
        if is_system(name):
            left_out.add(Kind.SYSTEM, name)
        elif _is_tar(name) and (folder / name).is_file():
            found.append(folder / name)
        else:
            left_out.add(Kind.SPECIAL if _is_tar(name) else file_kind(name) or Kind.OUTSIDE, name)
    return sorted(found, key=lambda file: natural_key(file.name))


def _read(path: Path) -> dict[str, Any]:
    """Return the images of a tar file and of the tar files in it, which come first, as in timm."""
    outer, parts, plain = read_archive(path), [], []
    left_out, damage = outer.left_out, [outer.damage]
    with open(path, "rb") as file:
        for stored in outer.files:
            name = posixpath.basename(stored.path)
            if not _is_tar(name) or system_part(stored.path.split("/")):
                plain.append(stored)
                continue
            inner, prefix = read_members(file, f"{path}:{stored.path}", stored.offset, stored.size), f"{stored.path}:"
            parts.append(_part(inner, name[: -len(".tar")], prefix, left_out))
            left_out.merge(inner.left_out, prefix)
            damage.append(inner.damage and f"{prefix} {inner.damage}")
    parts.append(_part(Archive(plain, outer.folders), "", "", left_out))
    return {"parts": parts, "left_out": left_out.names(), "damage": "; ".join(filter(None, damage))}


def _part(archive: Archive, stem: str, prefix: str, left_out: LeftOut) -> dict[str, Any]:
    """Return an archive's images as (path, offset, size), and all its folders."""
    images, folders = [], {tuple(folder.split("/")) for folder in archive.folders}
    for stored in archive.files:
        *folder, name = stored.path.split("/")
        if system := system_part([*folder, name]):
            left_out.add(Kind.SYSTEM, prefix + system)
        elif kind := file_kind(name):
            left_out.add(kind, prefix + stored.path)
            folders.add(tuple(folder))
        else:
            images.append(stored)
    if stem and not images:
        left_out.add(Kind.EMPTY, prefix[:-1])
    shown = sorted(folder for folder in folders if not system_part(folder))
    return {"stem": stem, "prefix": prefix, "images": images, "folders": shown}


class _Images:
    """The images of a split, by class."""

    def __init__(self) -> None:
        self.classes: set[str] = set()
        self.deeper: set[str] = set()
        self.found: dict[tuple[int, int], list[tuple[str, str, Member]]] = {}
        """By tar file and offset: class, path in its archive, member."""

    def add(self, part: dict[str, Any], stem: str, number: int, prefix: str, left_out: LeftOut) -> None:
        """Add the images of an archive; stem: its name without .tar, empty for the one archive of a split."""
        folders = {path: tuple(path.split("/")[:-1]) for path, *_ in part["images"]}
        around, whole = _class_level(set(folders.values()), stem)
        level = len(around)
        if not whole:
            below = (folder for folder in map(tuple, part["folders"]) if folder[:level] == around)
            self.classes |= {folder[level] for folder in below if len(folder) > level}
        for path, offset, size in part["images"]:
            folder, name = folders[path], part["prefix"] + path
            if not whole and len(folder) <= level:
                left_out.add(Kind.OUTSIDE, prefix + name)
                continue
            label = whole or folder[level]
            same = self.found.setdefault((number, offset), [])
            if any(label == other for other, *_ in same):
                left_out.add(Kind.AGAIN, prefix + name)
                continue
            same.append((label, path, Member(number, offset, size, name)))
            self.classes.add(label)
            if len(folder) > level + (not whole):
                self.deeper.add("/".join((label, *folder[level + (not whole) :])))

    def split(self, path: Path, files: list[Path], left_out: LeftOut, damaged: dict[str, str]) -> Split:
        """Return the split, in timm's order of classes and images."""
        classes = sorted(self.classes, key=natural_key)
        numbers = {name: i for i, name in enumerate(classes)}
        every = [image for images in self.found.values() for image in images]
        every.sort(key=lambda image: natural_key(image[1])[0])
        doubled = tuple(images[1][2].name for images in self.found.values() if len(images) > 1)
        source = TarMembers(tuple(map(str, files)), tuple(member for *_, member in every))
        labels = np.asarray([numbers[label] for label, *_ in every], dtype=np.int64)
        found = {"deeper": tuple(sorted(self.deeper)), "doubled": doubled, "damaged": damaged}
        return Split(path.name, tuple(classes), source, labels, str(path), left_out, **found)


def _class_level(folders: Iterable[Folder], stem: str) -> tuple[Folder, str]:
    """Return the folder around the classes, and the class of an archive that is as a whole of one class.

    folders: those with images. stem: empty for the one archive of a split, whose images without folder have no class.
    """
    inside = {folder for folder in folders if folder or stem}
    ends = zip(min(inside, default=()), max(inside, default=()), strict=False)  # in order: all others are between them
    around = tuple(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], ends))
    below = {folder[len(around)] for folder in inside if len(folder) > len(around)}
    if around in inside and (stem or len(below) < 2):
        return around, around[-1] if around else stem
    return around, ""
