"""Any image folder: train/<class>/<image> and val/<class>/<image> (or test/), found by torchvision."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dynvit.config.data import Data
from dynvit.data.paths import find_root
from dynvit.data.source import Split, split_names


@dataclass(frozen=True)
class ImageFiles:
    """One file per image."""

    files: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.files)

    def read(self, index: int) -> bytes:
        return Path(self.files[index]).read_bytes()

    def name(self, index: int) -> str:
        return self.files[index]


def splits(data: Data) -> tuple[Split, Split]:
    root = find_root(data)
    first, rest = split_names(data)
    val_root = next((root / name for name in rest if (root / name).is_dir()), None)
    if not (root / first).is_dir() or val_root is None:
        here = ", ".join(sorted(p.name for p in root.iterdir() if p.is_dir())[:8]) or "no folders"
        wanted = f"{first}/ and {rest[0]}/" + ("" if data.splits else " (or test/)")
        raise FileNotFoundError(f"{root} must hold {wanted}, a folder per class in each; it has {here}")
    return _listed(root / first), _listed(val_root)


def _listed(folder: Path) -> Split:
    from torchvision.datasets import ImageFolder

    found = ImageFolder(str(folder), allow_empty=False)
    paths = ImageFiles(tuple(file for file, _ in found.samples))
    return Split(f"{folder.name}/", tuple(found.classes), paths, np.asarray(found.targets, dtype=np.int64))
