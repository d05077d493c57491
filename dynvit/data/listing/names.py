"""Names on disk: which belong to an operating system, which are images, how they are compared and printed."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections.abc import Sequence

IMAGE_ENDINGS = frozenset(("bmp", "gif", "jfif", "jpe", "jpeg", "jpg", "pgm", "png", "ppm", "tif", "tiff", "webp"))
OTHER_ENDINGS = frozenset((
    "cls", "csv", "db", "htm", "html", "idx", "ini", "ipynb", "json", "jsonl", "log", "lst", "mat", "md", "md5", "npy",
    "npz", "pdf", "pickle", "pkl", "py", "sha256", "tsv", "txt", "url", "xml", "yaml", "yml",
))  # fmt: skip
"""Endings of files that are expected beside images and are none."""
SYSTEM_NAMES = frozenset((
    "#recycle", "#snapshot", "$recycle.bin", "@eadir", "@recycle", "__macosx", "__pycache__", "desktop.ini",
    "ehthumbs.db", "icon\r", "lost+found", "system volume information", "thumbs.db",
))  # fmt: skip
"""Folders and files that operating systems and file servers add; so are all names that begin with a dot."""


def is_system(name: str) -> bool:
    """Return whether a file or folder is hidden, or belongs to an operating system: the same list for every form."""
    return name.startswith(".") or name.casefold() in SYSTEM_NAMES


def system_part(parts: Sequence[str]) -> str:
    """Return the path up to the first part that is hidden or belongs to an operating system; empty if none does."""
    return next(("/".join(parts[: i + 1]) for i, name in enumerate(parts) if is_system(name)), "")


def ending(name: str) -> str:
    """Return what follows the last dot of a file's name, in small letters; empty if there is nothing."""
    return name.rpartition(".")[2].lower() if "." in name[1:] else ""


def is_image(name: str) -> bool:
    return ending(name) in IMAGE_ENDINGS


def member_path(name: str) -> str:
    """Return the name of a member of an archive as a path below the archive's root."""
    path = posixpath.normpath(name).lstrip("/")
    while path.startswith("../"):
        path = path[3:]
    return "" if path in (".", "..") else path


def words(name: str) -> list[str]:
    """Split a name into words and numbers: ImageNet-train0001.tar is image, net, train, 0001, tar."""
    spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
    return [word.lower() for word in re.findall(r"\d+|[^\W\d_]+", spaced)]


def holds_words(name: str, wanted: str) -> bool:
    """Return whether a name has the words of `wanted` one after the other: train is in my-train-01, not in trainer."""
    found, sought = words(name), words(wanted)
    return any(found[i : i + len(sought)] == sought for i in range(len(found) - len(sought) + 1))


MOST_DIGITS = 4000
"""Of a number in a name; Python reads no more than 4300."""


def natural_key(name: str) -> tuple[list[tuple[str, int]], str]:
    """Sort key by which cat2 precedes cat10, as in timm; names that differ in case only have a fixed order."""
    parts = re.split(r"(\d+)", name.lower())
    return [(part, 0) if i % 2 == 0 else ("", int(part[:MOST_DIGITS])) for i, part in enumerate(parts)], name


def normalized(name: str) -> str:
    """Return a name in one of the two ways to write its accents: macOS and Linux differ."""
    return unicodedata.normalize("NFC", name)


def same_names(names: Sequence[str]) -> tuple[int, int] | None:
    """Return the indices of the first two names that are the same; None where there are none."""
    first: dict[str, int] = {}
    pairs = ((first.setdefault(normalized(name), i), i) for i, name in enumerate(names))
    return next(((one, other) for one, other in pairs if one != other), None)


def look(name: str) -> str:
    """Return what two names share that a person takes for the same."""
    return unicodedata.normalize("NFKC", name).casefold().strip()


def shown(name: str) -> str:
    """Return a name without characters that a terminal or a file in UTF-8 cannot hold."""
    return name if name.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)


def listed(names: Sequence[str], most: int = 3) -> str:
    """Return the first names and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(shown, names[:most])) + more
