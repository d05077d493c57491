"""Random small image sets with oddities, in the three forms on disk, with what a listing must say of them.

The expectations are written down here by hand for each oddity: nothing of the listing's own code is used.
"""

from __future__ import annotations

import io
import os
import random
import tarfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from made_images import add

FORMS = ("folder", "tar", "wds")
SYSTEM_FOLDERS = (".ipynb_checkpoints", "__MACOSX", "@eaDir", ".git", "#recycle")
SYSTEM_FILES = ("._0.png", ".DS_Store", "Thumbs.db", "desktop.ini", ".hidden.jpg")
SYSTEM, ENDING, NONE = "hidden or of an operating system", "an ending that is not read", "no ending"
OTHER, OUTSIDE = "no image by the ending", "outside the class folders"
SPECIAL, AGAIN = "no plain file, or a link to nothing", "the same file again in its class"
REPLACED, DOUBLED = "replaced by a later member of the same name", "files in two classes"
LOOP, DEEPER = "a link to a folder that is read already", "folders with images below their class"
UNLABELED, IMAGELESS = "an image without .cls or .json label", "part of a sample without an image"
TWO_CLASSES = "images with the bytes of an image of another class"
ONE_CLASS = "images with the bytes of another one of their class"
DOTTED = "a sample's name with a dot (the key ends at the first dot)"
FURTHER, COPIES = "a further image of its sample", "validation images with the bytes of a training image"


@dataclass
class Made:
    """A split as it is written: what its listing must hold and say."""

    name: str
    entries: list[tuple[str, str, bytes | str]] = field(default_factory=list)
    """Kind (file, link, pipe), path, and content or target."""
    images: Counter = field(default_factory=Counter)
    """By class and content."""
    said: Counter = field(default_factory=Counter)

    def file(self, path: str, content: bytes) -> None:
        self.entries.append(("file", path, content))

    def image(self, form: str, label: int, name: str, content: bytes, folder: str = "") -> None:
        """Add an image that the listing must have."""
        if form == "wds":
            self.file(f"{label}{folder.replace('/', '_')}_{name}", content)
            self.file(f"{label}{folder.replace('/', '_')}_{name.rpartition('.')[0]}.cls", str(label).encode())
        else:
            self.file(f"{label}/{folder}{name}", content)
        self.images[label, content] += 1


Oddity = Callable[[Made, str, int, random.Random, Callable[[], bytes]], None]


def system_file(made: Made, form: str, label: int, draw: random.Random, new: Callable[[], bytes]) -> None:
    made.file(f"{label}/{draw.choice(SYSTEM_FILES)}", new())
    made.said[SYSTEM] += 1


def system_folder(made: Made, form: str, label: int, draw: random.Random, new: Callable[[], bytes]) -> None:
    place = draw.choice((f"{label}/", "")) + draw.choice(SYSTEM_FOLDERS)
    for i in range(2):
        made.file(f"{place}/{i}.png", new())
    made.said[SYSTEM] += 1


def other_ending(made: Made, form: str, label: int, draw: random.Random, new: Callable[[], bytes]) -> None:
    name, kind = draw.choice((("x.heic", ENDING), ("x.png~", ENDING), ("x", NONE), ("x.txt", OTHER), ("x.csv", OTHER)))
    made.file(f"{label}/{name}", new())
    made.said[IMAGELESS if form == "wds" and kind == OTHER else kind] += 1


def read_ending(made: Made, form: str, label: int, draw: random.Random, new: Callable[[], bytes]) -> None:
    made.image(form, label, f"r.{draw.choice(('gif', 'JFIF', 'webp', 'TIF', 'Jpeg', 'bmp', 'ppm'))}", new())


def loose(made: Made, form: str, label: int, draw: random.Random, new: Callable[[], bytes]) -> None:
    made.file("loose.png", new())
    made.said[UNLABELED if form == "wds" else OUTSIDE] += 1


def deeper(made: Made, form: str, label: int, draw: random.Random, new: Callable[[], bytes]) -> None:
    made.image(form, label, "d.png", new(), "deep/")
    made.said[DEEPER] += form != "wds"


def linked(made: Made, form: str, label: int, draw: random.Random, new: Callable[[], bytes]) -> None:
    """A link to an image: in its class it is left out, in another it is an image there."""
    content, other = new(), 1 - label if label < 2 else 0
    if form == "wds":
        made.image(form, label, "target.png", content)
        return
    made.image(form, label, "target.png", content)
    made.entries.append(("link", f"{label}/zlink.png", "target.png"))
    made.said[AGAIN] += 1
    if draw.random() < 0.5:
        made.entries.append(("link", f"{other}/zother.png", f"../{label}/target.png"))
        made.images[other, content] += 1
        made.said[DOUBLED] += 1


def dead(made: Made, form: str, label: int, draw: random.Random, new: Callable[[], bytes]) -> None:
    kind, target = draw.choice((("link", "nothing.png"), ("link", "dead.png"), ("pipe", "")))
    made.entries.append((kind, f"{label}/dead.png", target))
    made.said[SPECIAL] += 1


def loop(made: Made, form: str, label: int, draw: random.Random, new: Callable[[], bytes]) -> None:
    made.entries.append(("link", f"{label}/loop", draw.choice((".", "..", f"../{label}"))))
    made.said[LOOP if form == "folder" else SPECIAL] += 1


def replaced(made: Made, form: str, label: int, draw: random.Random, new: Callable[[], bytes]) -> None:
    if form == "folder":
        return
    older = new()
    made.file(f"{label}_twice.png" if form == "wds" else f"{label}/twice.png", older)
    made.image(form, label, "twice.png", new())
    made.said[REPLACED] += 1


def sample(made: Made, form: str, label: int, draw: random.Random, new: Callable[[], bytes]) -> None:
    """What only shards have: parts of samples."""
    if form != "wds":
        return
    kind = draw.choice((UNLABELED, IMAGELESS, DOTTED, FURTHER))
    names = {UNLABELED: ["u.png"], IMAGELESS: ["i.cls"], DOTTED: ["k.v1.png", "k.v1.cls"], FURTHER: ["f.seg.png"]}[kind]
    for name in names:
        made.file(f"{label}_{name}", b"1" if name.endswith("cls") else new())
    if kind == FURTHER:
        made.image(form, label, "f.png", new())
    made.said[kind] += len(names)


ODDITIES: tuple[Oddity, ...] = (
    system_file, system_folder, other_ending, read_ending, loose, deeper, linked, dead, loop, replaced, sample,
)  # fmt: skip


def random_split(name: str, form: str, classes: int, seed: int, first: int) -> Made:
    """Return a split of the seed: the same images and oddities in every form; contents are numbered from `first`."""
    draw, made, number = random.Random(seed), Made(name), iter(range(first, first + 10_000))

    def new() -> bytes:
        return b"image %d" % next(number)

    for label in range(classes):
        for i in range(draw.randint(1, 4)):
            made.image(form, label, f"{i}.{draw.choice(('png', 'jpg', 'JPEG'))}", new())
    for oddity in draw.sample(ODDITIES, draw.randint(0, 5)):
        oddity(made, form, draw.randrange(classes), random.Random(draw.random()), new)
    return made


def write(made: Made, form: str, root: Path, draw: random.Random) -> None:
    if form == "folder":
        for kind, path, content in made.entries:
            file = root / made.name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            if kind == "file":
                file.write_bytes(content)
            else:
                os.symlink(content, file) if kind == "link" else os.mkfifo(file)
        return
    shards = 2 if form == "wds" else 1
    for shard in range(shards):
        name = f"my-{made.name}-{shard:02}.tar" if form == "wds" else f"{made.name}.tar"
        around = draw.choice(("", "./", "a/b/"))
        with tarfile.open(root / name, "w") as tar:
            for kind, path, content in made.entries:
                if form == "wds" and hash_of(path) % shards != shard:
                    continue
                if kind == "file":
                    add(tar, around + path, content)
                    continue
                info = tarfile.TarInfo(around + path)
                info.type, info.linkname = (tarfile.SYMTYPE, content) if kind == "link" else (tarfile.FIFOTYPE, "")
                tar.addfile(info, io.BytesIO())


def hash_of(path: str) -> int:
    """Number of what must be in one shard: a folder, or a sample's key."""
    return sum(path.split("/")[0].partition(".")[0].encode())
