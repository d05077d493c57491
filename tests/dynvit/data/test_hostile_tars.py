"""Tar headers that no tar program writes: all images are there, or the doctor names the file and the member.

Nothing waits without end, and nothing outside the tar file is read.
"""

import sys
import tarfile

import pytest
from made_images import encoded, shards, tar_of_folders

from dynvit.config.data import Data
from dynvit.data.factory import index_dataset
from dynvit.data.inspect import inspect_data

NEW = encoded(1, 3, blue=200)
WHOLE = b"%011o\0" % len(NEW)


def header(name, kind=b"0", size=b"0" * 11 + b"\0", content=b"", link=b"", realsize=None, magic=b"ustar  \0"):
    """A header with its content; `size` as it stands in the header."""
    raw = bytearray(512)
    fields = {0: name, 100: b"0000644\0", 124: size, 136: b"0" * 11 + b"\0", 156: kind, 157: link, 257: magic}
    if realsize is not None:
        fields[483] = b"%011o\0" % realsize
    for at, value in {**fields, 148: b" " * 8}.items():
        raw[at : at + len(value)] = value
    raw[148:156] = b"%06o\0 " % sum(raw)
    return bytes(raw) + content + bytes(-len(content) % 512)


def below_zero(size):
    return b"\xff" + (256**11 - size).to_bytes(11, "big")


def pax(content, kind=b"x", size=None):
    if isinstance(content, dict):
        content = b"".join(record(key, value) for key, value in content.items())
    return header(b"pax", kind, size or b"%011o\0" % len(content), content, magic=b"ustar\x0000")


def record(key, value):
    body = b" %s=%s\n" % (key, value)
    length = next(n for n in range(len(body), len(body) + 20) if len(str(n)) + len(body) == n)
    return str(length).encode() + body


FILE = header(b"bee/new.png", size=WHOLE, content=NEW)
KEPT = {
    "above the root": header(b"../../../bee/new.png", size=WHOLE, content=NEW),
    "above and back": header(b"ant/../../bee/new.png", size=WHOLE, content=NEW),
    "absolute": header(b"/bee/new.png", size=WHOLE, content=NEW),
    "absolute by pax": pax({b"path": b"/../bee/x.png"}) + FILE,
    "no utf-8": pax({b"path": b"bee/\xff\xfe.png"}) + FILE,
    "binary": pax({b"hdrcharset": b"BINARY", b"path": b"bee/\xff\xfe.png"}) + FILE,
    "many records": pax({b"key%d" % i: b"" for i in range(20_000)}) + FILE,
    "contiguous": header(b"bee/new.png", b"7", WHOLE, NEW),
    "before POSIX": header(b"bee/new.png", b"\0", WHOLE, NEW, magic=bytes(8)),
    "a folder below zero": header(b"bee/", b"5", below_zero(512)) + FILE,
}
"""The new image belongs to the class bee."""
LEFT_OUT = {
    "link out": (header(b"bee/out.png", b"2", link=b"/etc/passwd"), "bee/out.png"),
    "hard link out": (header(b"bee/out.png", b"1", link=b"../../../../etc/passwd"), "bee/out.png"),
    "loop": (header(b"bee/out.png", b"2", link=b"b.png") + header(b"bee/b.png", b"2", link=b"out.png"), "bee/out.png"),
    "device": (header(b"bee/out.png", b"3"), "bee/out.png"),
    "block device": (header(b"bee/out.png", b"4"), "bee/out.png"),
    "sparse": (header(b"bee/out.png", b"S", realsize=2**33), "bee/out.png"),
    "no name": (header(b"", size=WHOLE, content=NEW), "a file without a name"),
    "dots": (header(b"bee/../..", size=WHOLE, content=NEW), "bee/../.."),
    "only slashes": (header(b"///.", size=WHOLE, content=NEW), "///."),
    "a name below zero": (header(b"././@LongLink", b"L", below_zero(512)) + FILE, "a file without a name"),
    "control characters": (pax({b"path": b"../x\0y\n.png"}) + FILE, "x\\x00y\\n.png"),
}
"""With the name that is said."""
DAMAGED = {
    "below zero": header(b"bee/bad.png", size=below_zero(512)),
    "far below zero": header(b"bee/bad.png", size=below_zero(2**40)),
    "unknown kind, back to itself": header(b"bee/bad.png", b"Z", below_zero(512)),
    "unknown kind, back to the first": header(b"bee/bad.png", b"Z", below_zero(10_240)),
    "sparse, back": header(b"bee/bad.png", b"S", below_zero(512), realsize=5),
    "below zero by pax": pax({b"size": b"-1024"}) + header(b"bee/bad.png"),
    "unknown kind, below zero by pax": pax({b"size": b"-1536"}) + header(b"bee/bad.png", b"Z"),
    "for all by pax": pax({b"path": b"bee/bad.png", b"size": b"-512"}, b"g") + FILE,
    "of another kind of pax": pax({b"path": b"bee/bad.png", b"size": b"-512"}, b"X") + FILE,
    "beyond all disks": pax({b"size": b"9" * 50}) + header(b"bee/bad.png"),
    "digits without end": pax({b"size": b"9" * 6000}) + FILE,
    "a search without end": pax(b"1" * 900_000) + FILE,
    "a bomb": pax({b"comment": b"a" * 2**21}) + FILE,
    "a bomb that is claimed": pax(b"", size=b"77777777777\0") + FILE,
    "a name without end": header(b"././@LongLink", b"L", b"%011o\0" % 2**21, b"x" * 2**21) + FILE,
    "names upon names": header(b"././@LongLink", b"L", b"%011o\0" % 10, b"bee/l.png\0") * 3000 + FILE,
    "records upon records": pax({b"a": b"b"}) * 3000 + FILE,
    "a sparse map without end": pax({b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0"})
    + header(b"bee/bad.png", size=b"%011o\0" % 512, content=b"99999999\n"),
}  # fmt: skip


UNREAD = "a header is damaged after "
"""What is said where Python itself cannot read a header: 3.11.2 none of a size below zero."""


@pytest.fixture
def root(root):
    return tar_of_folders(root)


@pytest.fixture
def usual_depth():
    """Calls within calls as deep as Python allows by default: tests/architecture.py allows more."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)
    yield
    sys.setrecursionlimit(before)


def insert(file, content, before=-1):
    with tarfile.open(file) as tar:
        at = tar.getmembers()[before].offset
    whole = file.read_bytes()
    file.write_bytes(whole[:at] + content + whole[at:])


def data(root, name="tar", **options):
    return Data(name=name, root=str(root), image_size=8, **options)


def doctor(root, name="tar"):
    return " ".join(text for level, text, _ in inspect_data(data(root, name), 4) if level == "attention")


@pytest.mark.parametrize("kind", KEPT)
def test_odd_names_are_below_the_root(kind, root):
    insert(root / "train.tar", KEPT[kind])
    index = index_dataset(data(root))
    assert (index.classes, len(index.train)) == (("ant", "bee", "cat"), 25)
    assert doctor(root) == ""


@pytest.mark.parametrize("kind", LEFT_OUT)
def test_what_is_no_image_is_named(kind, root):
    content, name = LEFT_OUT[kind]
    insert(root / "train.tar", content)
    assert len(index_dataset(data(root)).train) in (23, 24)  # a name may be taken by the next member
    assert name in (said := doctor(root)) or (kind == "a name below zero" and UNREAD in said)


@pytest.mark.usefixtures("usual_depth")
@pytest.mark.parametrize("form", ["tar", "wds"])
@pytest.mark.parametrize("kind", DAMAGED)
def test_headers_that_lie_are_damage_after_a_member(kind, form, root):
    file = root / "train.tar"
    if form == "wds":
        file = shards(root) / "tiny-train-0001.tar"
    insert(file, DAMAGED[kind])
    said = doctor(root, form)
    assert f"{file} is damaged: " in said, said
    assert "bad.png" in said or "after " in said


def test_damage_explains_a_class_that_is_missing(root):
    insert(root / "train.tar", DAMAGED["below zero"], before=3)
    ends = tuple(
        f"; {root / 'train.tar'} is damaged: {what}"
        for what in ("a size below zero is at bee/bad.png", f"{UNREAD}ant/2.png")
    )
    assert doctor(root).endswith(ends)
    tar_of_folders(root)
    insert(root / "test.tar", DAMAGED["a bomb"], before=5)  # of ant there are four
    assert doctor(root).endswith(f"{root / 'test.tar'} is damaged: a header of 2097664 bytes after bee/0.png")


def test_a_label_of_many_bytes(root):
    shards(root)
    size = 2**24 + 1
    insert(root / "tiny-train-0001.tar", header(b"big.cls", size=b"%011o\0" % size, content=b"1" + b" " * (size - 1)))
    insert(root / "tiny-train-0001.tar", header(b"big.png", size=WHOLE, content=NEW))
    with pytest.raises(ValueError, match=r"tiny-train-0001\.tar:big\.cls holds no label: 16777217 bytes"):
        index_dataset(data(root, "wds"))
