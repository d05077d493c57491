"""Any image folder: train/<class>/<image> and val/<class>/<image> (or test/), in torchvision's order."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dynvit.config.data import Data
from dynvit.data.listing.left_out import Kind, LeftOut, file_kind
from dynvit.data.listing.names import is_system, listed, shown
from dynvit.data.paths import find_root, spelled
from dynvit.data.source import Listing, Split, split_names

Identity = tuple[int, int]
"""Device and inode: the same for all paths to a file or folder."""


@dataclass(frozen=True)
class ImageFiles:
    """One file per image."""

    files: tuple[str, ...]
    inodes: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.files)

    def read(self, index: int) -> bytes:
        return Path(self.files[index]).read_bytes()

    def name(self, index: int) -> str:
        return shown(self.files[index])

    def size(self, index: int) -> int:
        return os.stat(self.files[index]).st_size


def splits(data: Data) -> Listing:
    train, val = find_splits(data)
    root, unused = find_root(data), LeftOut()
    for name in _folders(root):
        if not any(root / name in (used, *used.parents) for used in (train, val)):
            unused.add(Kind.SYSTEM if is_system(name) else Kind.UNUSED, f"{name}/")
    return Listing(_listed(train), _listed(val), str(root), unused)


def find_splits(data: Data) -> list[Path]:
    """Return the folders of the training and of the validation images. Raises FileNotFoundError."""
    root = find_root(data)
    candidates = ([spelled(root, word) for words in groups for word in words] for groups in split_names(data))
    train, val = (next((path for path in paths if path.is_dir()), None) for paths in candidates)
    if train is None or val is None:
        here = listed(_folders(root), 8) or "no folders"
        first, second = data.splits or ("train", "val")
        wanted = f"{first}/ and {second}/" + ("" if data.splits else " (or test/)")
        raise FileNotFoundError(f"{root} must hold {wanted}, a folder per class in each; it has {here}")
    return [train, val]


def _folders(root: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(root) if _type(entry) == "folder")


def _listed(folder: Path) -> Split:
    left_out, above = LeftOut(), {_identity(place) for place in (folder, *folder.resolve().parents)}
    classes, files, inodes, labels, deeper = [], [], [], [], []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        kind = _type(entry)
        if is_system(entry.name):
            left_out.add(Kind.SYSTEM, entry.name)
        elif kind == "folder" and _identity(entry.path) in above:
            left_out.add(Kind.LOOP, entry.name)
        elif kind == "folder":
            found = _class_files(entry.path, above, left_out)
            labels += [len(classes)] * len(found)
            classes.append(entry.name)
            deeper += sorted({os.path.relpath(file.folder, folder) for file in found if file.folder != entry.path})
            files += [file.path for file in found]
            inodes += [file.inode for file in found]
        else:
            left_out.add(file_kind(entry.name) or Kind.OUTSIDE if kind == "file" else Kind.SPECIAL, entry.name)
    source = ImageFiles(tuple(files), np.asarray(inodes, np.uint64))
    return Split(
        f"{folder.name}/", tuple(classes), source, np.asarray(labels, dtype=np.int64), str(folder), left_out,
        tuple(deeper), tuple(_doubled(source)),
    )  # fmt: skip


class _File(NamedTuple):
    folder: str
    name: str
    inode: int
    link: bool

    @property
    def path(self) -> str:
        return os.path.join(self.folder, self.name)


def _class_files(top: str, above: set[Identity], left_out: LeftOut) -> list[_File]:
    """Return the images of a class, folder by folder as torchvision does, each file once. Links to folders are followed
    last: of a folder and a link to it, the link is left out."""
    base, seen, found, pending = os.path.dirname(top), set(above), [], deque([top])
    while pending:
        folder = pending.popleft()
        if (identity := _identity(folder)) in seen:
            left_out.add(Kind.LOOP, os.path.relpath(folder, base))
            continue
        seen.add(identity)
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            kind, linked = _type(entry), entry.is_symlink()
            if is_system(entry.name):
                left_out.add(Kind.SYSTEM, os.path.relpath(entry.path, base))
            elif kind == "folder":
                (pending.append if linked else pending.appendleft)(entry.path)
            elif refused := Kind.SPECIAL if kind != "file" else file_kind(entry.name):
                left_out.add(refused, os.path.relpath(entry.path, base))
            else:  # a plain file's number is known without asking for its status
                found.append(_File(folder, entry.name, entry.stat().st_ino if linked else entry.inode(), linked))
    return sorted(_once(found, base, left_out))


def _once(found: list[_File], base: str, left_out: LeftOut) -> Iterator[_File]:
    """Yield each file once, under its own name rather than that of a link."""
    counts, seen = Counter(file.inode for file in found), set()
    for file in sorted(found, key=lambda file: (file.link, file)):
        if counts[file.inode] > 1:  # some network file systems have one number for all files
            if (identity := _identity(file.path)) in seen:
                left_out.add(Kind.AGAIN, os.path.relpath(file.path, base))
                continue
            seen.add(identity)
        yield file


def _doubled(source: ImageFiles) -> Iterator[str]:
    """Yield files that more than one class has."""
    numbers, counts = np.unique(source.inodes, return_counts=True)
    seen = set()
    for index in np.flatnonzero(np.isin(source.inodes, numbers[counts > 1])):
        if (identity := _identity(source.files[index])) in seen:
            yield source.files[index]
        seen.add(identity)


def _identity(path: str | Path) -> Identity:
    stat = os.stat(path)
    return stat.st_dev, stat.st_ino


def _type(entry: os.DirEntry[str]) -> str:
    """Return folder, file, or nothing for pipes, sockets, devices and links to nothing."""
    try:
        return "folder" if entry.is_dir() else "file" if entry.is_file() else ""
    except OSError:  # links in a circle
        return ""
