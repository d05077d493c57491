"""Entries that a listing leaves out, by kind: counted, and named in `studies doctor --data`, log and result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import NamedTuple

from dynvit.data.listing.names import OTHER_ENDINGS, ending, is_image, listed


class Remark(NamedTuple):
    """Something to know about a data set that is no error."""

    where: str
    """The split, or the folder of both."""
    kind: str
    count: int
    text: str
    """The whole sentence."""
    level: str
    """note, or attention where images that were meant may be missing."""


class Kind(Enum):
    """Why an entry is left out, and how much attention that needs."""

    SYSTEM = "hidden or of an operating system", "note"
    OTHER = "no image by the ending", "note"
    UNKNOWN = "an ending that is not read", "attention"
    UNNAMED = "no ending", "attention"
    OUTSIDE = "outside the class folders", "attention"
    SPECIAL = "no plain file, or a link to nothing", "attention"
    AGAIN = "the same file again in its class", "attention"
    LOOP = "a link to a folder that is read already", "attention"
    REPLACED = "replaced by a later member of the same name", "attention"
    UNLABELED = "an image without .cls or .json label", "attention"
    IMAGELESS = "part of a sample without an image", "attention"
    DOTTED = "a sample's name with a dot (the key ends at the first dot)", "attention"
    FURTHER = "a further image of its sample", "note"
    EMPTY = "an archive without images", "attention"
    UNUSED = "in neither split", "note"


ENDING_KINDS = (Kind.OTHER, Kind.UNKNOWN)


def file_kind(name: str) -> Kind | None:
    """Return why a file is no image by its name, or None if it is one."""
    if is_image(name):
        return None
    found = ending(name)
    return Kind.UNNAMED if not found else Kind.OTHER if found in OTHER_ENDINGS else Kind.UNKNOWN


class LeftOut:
    """Names of entries by kind, with the number of entries of that name."""

    def __init__(self, names: dict[str, dict[str, int]] | None = None) -> None:
        self._names = {Kind[kind]: dict(of_kind) for kind, of_kind in (names or {}).items()}

    def add(self, kind: Kind, name: str) -> None:
        names = self._names.setdefault(kind, {})
        names[name] = 1 if kind is Kind.SYSTEM else names.get(name, 0) + 1  # of a hidden folder the folder counts

    def merge(self, other: LeftOut, prefix: str = "") -> None:
        for kind, names in other._names.items():
            self._names.setdefault(kind, {}).update({prefix + name: count for name, count in names.items()})

    def names(self) -> dict[str, dict[str, int]]:
        """Return the names by kind, as JSON can hold them."""
        return {kind.name: names for kind, names in self._names.items()}

    def remarks(self, where: str) -> Iterator[Remark]:
        """Yield one remark per kind."""
        for kind in sorted(self._names, key=list(Kind).index):
            (text, level), names = kind.value, self._names[kind]
            count = sum(names.values())
            endings = f": {_endings(names)}" if kind in ENDING_KINDS else ""
            sentence = f"{where}: {count} left out, {text}{endings} ({listed(sorted(names))})"
            yield Remark(where, text, count, sentence, level)

    def __str__(self) -> str:
        """Return the kinds with their numbers and a name each, for an error."""
        found = [(kind.value[0], sum(names.values()), min(names)) for kind, names in self._names.items()]
        return "; ".join(f"{count} {text} ({listed([name])})" for text, count, name in found)


def _endings(names: Iterable[str]) -> str:
    counted = Counter(ending(name) for name in names)
    return listed([f".{text} {count}" for text, count in counted.most_common()], 5)
