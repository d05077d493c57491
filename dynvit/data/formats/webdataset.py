"""WebDataset shards, indexed: each sample an image with its `.cls` (a number) or `.json` (its field `label`).

timm and the webdataset package read shards as a stream, whose order depends on how many processes read, and which a
resumed trial would have to read again from the start. Here the tar headers are read once (and kept in the
cache) and images are then read by offset: the order depends on the seed alone, as with folders.

A split's shards are those that `_info.json` lists for it, or all whose names have its name as a word:
imagenet1k-train-*.tar, not retrain-*.tar.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import numpy as np

from dynvit.config.data import Data
from dynvit.data.formats.labels import MAX_CLASSES
from dynvit.data.formats.webdataset_label import LABELS, label_of_sample
from dynvit.data.listing.archive import Stored, read_archive
from dynvit.data.listing.cache import cached
from dynvit.data.listing.left_out import Kind, LeftOut, file_kind
from dynvit.data.listing.names import IMAGE_ENDINGS, ending, is_system, listed, same_names, shown, system_part
from dynvit.data.listing.tar_members import Member, TarMembers
from dynvit.data.paths import find_root
from dynvit.data.source import Listing, Named, Split, divide, split_names

FORMAT = "wds, labels compared"
"""Of what the cache holds of a shard: another one than of versions that had not looked for labels that contradict."""
SHARDS = (".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst")
"""Compressed ones are refused by name."""
INFO = ("_info.json", "info.json")


def splits(data: Data) -> Listing:
    root, unused = find_root(data), LeftOut()
    shards = list(_shards(data, root, unused))
    named = _named(data, root, shards)
    for shard in set(shards) - {file for _, files in named for file in files}:
        unused.add(Kind.UNUSED, shard)
    listings = [_listed(root, files) for _, files in named]
    for (name, _), (_, labels, left_out, damaged) in zip(named, listings, strict=True):
        if not (left_out.names() or damaged):
            _check_number(root, name, len(labels))
    classes = _class_names(root) or [
        str(i) for i in range(1 + max(int(labels.max(initial=-1)) for _, labels, *_ in listings))
    ]
    train, val = (
        Split(name, tuple(classes), source, labels, str(root), left_out, class_list=True, damaged=damaged)
        for (name, _), (source, labels, left_out, damaged) in zip(named, listings, strict=True)
    )
    return Listing(train, val, str(root), unused)


def find_splits(data: Data) -> list[Path]:
    """Return the shards of the training and of the validation images. Raises FileNotFoundError, and ValueError for
    names that fit both."""
    root = find_root(data)
    return [root / file for _, files in _named(data, root, list(_shards(data, root, LeftOut()))) for file in files]


def _named(data: Data, root: Path, shards: list[str]) -> list[Named]:
    named = _of_info(data, root)
    if not all(named):
        named = [info or words for info, words in zip(named, divide(data, shards), strict=True)]
    if not all(files for _, files in named):
        first, second = data.splits or ("train", "val")
        raise FileNotFoundError(
            f"{root} must hold shards with {first} and with {second} as a word of their names (my-{first}-0.tar), or "
            f"list them in _info.json; it has {listed(sorted(os.listdir(root)), 6) or 'nothing'}"
        )
    return named


def _shards(data: Data, root: Path, unused: LeftOut) -> Iterator[str]:
    """Yield the shards in the root, and in its folders that have the name of a split."""
    folders = {word.casefold() for groups in split_names(data) for words in groups for word in words}
    for folder in (root, *sorted(path for path in root.iterdir() if path.name.casefold() in folders and path.is_dir())):
        for path in sorted(folder.iterdir()):
            name = str(path.relative_to(root))
            if is_system(path.name):
                unused.add(Kind.SYSTEM, name)
            elif not name.lower().endswith(SHARDS):
                if path.is_file() and file_kind(path.name) is not Kind.OTHER:
                    unused.add(Kind.UNUSED, name)
            elif path.is_file():
                yield name
            else:
                unused.add(Kind.SPECIAL, name)


def _of_info(data: Data, root: Path) -> list[Named | None]:
    """Return the shards that `_info.json` lists for the training and for the validation split, or None."""
    file = next((root / name for name in INFO if (root / name).is_file()), None)
    if file is None:
        return [None, None]
    try:
        found = json.loads(file.read_text(encoding="utf-8-sig")).get("splits", {})
        listed_files = {name: [str(path) for path in split["filenames"]] for name, split in found.items()}
        if texts := [name for name, split in found.items() if isinstance(split["filenames"], str)]:
            raise ValueError(f"filenames of {texts[0]} is a text, not a list")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{file} is not as expected, {{splits: {{train: {{filenames: [...]}}}}}}: {error}") from error
    for path in (path for files in listed_files.values() for path in files):
        if not (root / path).is_file():
            raise FileNotFoundError(f"{file} lists {shown(path)}, which is no file in {root}")
    words = ([word for some in groups for word in some] for groups in split_names(data))
    return [next(((word, listed_files[word]) for word in some if listed_files.get(word)), None) for some in words]


def _class_names(root: Path) -> list[str]:
    """Read classes.txt, one name per line; empty if there is none. Blank lines at the end are no classes."""
    file = root / "classes.txt"
    if not file.is_file():
        return []
    try:
        names = file.read_text(encoding="utf-8-sig").rstrip()
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not in UTF-8: {error}") from error
    if "" in (stripped := [name.strip() for name in names.split("\n")] if names else []):
        raise ValueError(f"{file}: line {stripped.index('') + 1} is blank, and each line is the name of a class")
    if same := same_names(stripped):
        lines = f"lines {same[0] + 1} and {same[1] + 1} are both {shown(stripped[same[1]])}"
        raise ValueError(f"{file}: {lines}: give each class its own name")
    return stripped


def _check_number(root: Path, name: str, found: int) -> None:
    """Raise ValueError where `_info.json` says another number of samples and nothing that was left out explains it."""
    file = next((root / info for info in INFO if (root / info).is_file()), None)
    splits = json.loads(file.read_text(encoding="utf-8-sig")).get("splits", {}) if file else {}
    number = splits.get(name, {}).get("num_samples", found)
    if number != found:
        raise ValueError(f"{file}: split {name} has num_samples {number!r}, its shards hold {found}")


def _listed(root: Path, names: list[str]) -> tuple[TarMembers, Any, LeftOut, dict[str, str]]:
    left_out, seen, tars = LeftOut(), set(), []
    for name in names:
        if (real := os.path.realpath(root / name)) in seen:
            left_out.add(Kind.AGAIN, name)
        else:
            tars.append(name)
        seen.add(real)
    with ThreadPoolExecutor(8) as pool:  # waits for the disk, mostly
        found = list(pool.map(lambda name: cached(root / name, FORMAT, _read), tars))
    for name, shard in zip(tars, found, strict=True):
        left_out.merge(LeftOut(shard["left_out"]), f"{name}:")
        if not shard["samples"]:
            left_out.add(Kind.EMPTY, name)
    members = [Member(i, *sample[:3]) for i, shard in enumerate(found) for sample in shard["samples"]]
    labels = [sample[3] for shard in found for sample in shard["samples"]]
    if wrong := [member for member, label in zip(members, labels, strict=True) if abs(label) > MAX_CLASSES]:
        raise ValueError(f"{root / tars[wrong[0].tar]}:{shown(wrong[0].name)} has a label that is no class")
    damaged = {str(root / name): shard["damage"] for name, shard in zip(tars, found, strict=True) if shard["damage"]}
    files = tuple(str(root / name) for name in tars)
    return TarMembers(files, tuple(members)), np.asarray(labels, dtype=np.int64), left_out, damaged


def _read(tar: Path) -> dict[str, Any]:
    """Return a shard's samples as (offset, size, name, label), by the first appearance of their keys."""
    archive = read_archive(tar)
    left_out, keys = archive.left_out, {}
    for stored in archive.files:
        if system := system_part(stored.path.split("/")):
            left_out.add(Kind.SYSTEM, system)
            continue
        folder, slash, name = stored.path.rpartition("/")
        key, _, end = name.partition(".")
        keys.setdefault(folder + slash + key, []).append((end.lower(), stored))
    with open(tar, "rb") as file:
        found = [sample for parts in keys.values() for sample in _sample(parts, file, left_out)]
    return {"samples": found, "left_out": left_out.names(), "damage": archive.damage}


def _sample(parts: list[tuple[str, Stored]], file: IO[bytes], left_out: LeftOut) -> Iterator[tuple[int, int, str, int]]:
    """Yield the sample of a key, if it is one. Everything that is in no sample is left out."""
    images = [stored for end, stored in parts if end in IMAGE_ENDINGS]
    label = label_of_sample(dict(reversed(parts)), file)
    if images and label is not None:
        yield images[0].offset, images[0].size, images[0].path, label
    dotted = {end.rpartition(".")[0] for end, _ in parts if "." in end and end.endswith(LABELS)}
    for end, stored in parts:
        if "." in end and (end.rpartition(".")[0] in dotted or (not images and ending(end) in IMAGE_ENDINGS)):
            left_out.add(Kind.DOTTED, stored.path)
        elif images and label is not None:
            if stored is not images[0] and ending(stored.path) in IMAGE_ENDINGS:
                left_out.add(Kind.FURTHER, stored.path)
        elif stored in images:
            left_out.add(Kind.UNLABELED, stored.path)
        elif not images:
            kind = file_kind(stored.path.rpartition("/")[2])
            left_out.add(kind if kind in (Kind.UNKNOWN, Kind.UNNAMED) else Kind.IMAGELESS, stored.path)
