"""Tar files of images, listed by timm's reader: a tar file per class, or one with a folder (or tar file) per class.

The root holds train.tar and val.tar (validation.tar, test.tar), or folders of those names with tar files in them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dynvit.config.data import Data
from dynvit.data.formats.tar_members import Member, TarMembers
from dynvit.data.paths import find_root
from dynvit.data.source import Split, split_names


def splits(data: Data) -> tuple[Split, Split]:
    root = find_root(data)
    first, rest = split_names(data)
    train, val = _find(root, [first]), _find(root, rest)
    if train is None or val is None:
        here = ", ".join(sorted(p.name for p in root.iterdir())[:8]) or "nothing"
        raise FileNotFoundError(
            f"{root} must hold {first}.tar and {rest[0]}.tar (or folders {first}/ and {rest[0]}/ of tar files); "
            f"it has {here}"
        )
    return _listed(train), _listed(val)


def _find(root: Path, names: list[str]) -> Path | None:
    for name in names:
        if (root / f"{name}.tar").is_file():
            return root / f"{name}.tar"
        if any((root / name).glob("*.tar")):
            return root / name
    return None


def _listed(path: Path) -> Split:
    from timm.data.readers.reader_image_in_tar import extract_tarinfos

    samples, labels, class_to_index, _ = extract_tarinfos(str(path))
    tars: dict[Path, int] = {}
    members = []
    for found, parent, child in samples:
        tar = path / parent if parent else path
        inside = child.offset_data if child is not None else 0
        where = tars.setdefault(tar, len(tars))
        members.append(Member(where, inside + found.offset_data, found.size, found.name))
    classes = tuple(sorted(class_to_index, key=class_to_index.__getitem__))
    return Split(path.name, classes, TarMembers(tuple(tars), tuple(members)), np.asarray(labels, dtype=np.int64))
