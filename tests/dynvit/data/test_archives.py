"""Damaged tar files: the file and the member are named, `max_corrupt` covers them, and doctor has no traceback."""

import bz2
import gzip
import io
import json
import lzma
import os
import random
import tarfile

import pytest
from made_images import add, encoded, shards, tar_of_folders, tar_of_tars

from dynvit.config.data import Data
from dynvit.data.factory import load_data
from dynvit.data.inspect import inspect_data

MAKE = {"tar": tar_of_folders, "wds": shards, "tar-of-tars": tar_of_tars}
FILE = {"tar": "train.tar", "wds": "tiny-train-0001.tar", "tar-of-tars": "train.tar"}
FORMS = pytest.mark.parametrize("form", ["tar", "wds", "tar-of-tars"])


def data(root, form, **options):
    options = {"image_size": 8, "in_memory": "never", **options}
    return Data(name=form.partition("-")[0], root=str(root), **options)


def load(root, form, **options):
    return load_data(data(root, form, **options), 4, 5, 0, "cpu")


def attention(root, form, **options):
    return [text for level, text, _ in inspect_data(data(root, form, **options), 4) if level == "attention"]


def members(file):
    with tarfile.open(file) as tar:
        return tar.getmembers()


DAMAGE = {
    "within a member": (lambda content, at: content[: at.offset_data + 10], "it ends within {name}"),
    "within a header": (lambda content, at: content[: at.offset + 100], "it is cut off after {before}"),
    "between members": (lambda content, at: content[: at.offset], "it is cut off after {before}"),
    "a header's sum": (
        lambda content, at: content[: at.offset + 148] + b"9999999\0" + content[at.offset + 156 :],
        "a header is damaged after {before}",
    ),
    "random bytes": (
        lambda content, at: content[: at.offset] + random.Random(0).randbytes(4096) + content[at.offset + 4096 :],
        "a header is damaged after {before}",
    ),
    "another tar file": (lambda content, at: content + content, "tar files put together with cat?"),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("form", ["tar", "wds"])
@pytest.mark.parametrize("in_memory", ["always", "never"])
def test_a_damaged_tar_file_is_named_and_counted(form, damage, in_memory, root):
    MAKE[form](root)
    file, (spoil, reason) = root / FILE[form], DAMAGE[damage]
    before, at = members(file)[-3:-1]
    file.write_bytes(spoil(file.read_bytes(), at))
    reason = reason.format(name=at.name, before=before.name)
    with pytest.raises(ValueError, match="cannot be read as an image") as error:
        load(root, form, in_memory=in_memory)
    assert f"the rest of {file} cannot be read" in str(error.value) and reason in str(error.value)
    assert any(str(file) in text and reason in text for text in attention(root, form))
    batches = load(root, form, in_memory=in_memory, max_corrupt=1)
    list(batches.train(0))
    assert list(batches.corrupt.found) == [f"the rest of {file}"]
    assert attention(root, form, max_corrupt=1) == []


def test_a_damaged_tar_file_in_a_tar_file(root):
    tar_of_tars(root)
    with tarfile.open(root / "train.tar") as tar:
        inner = {entry.name: tar.extractfile(entry).read() for entry in tar}
    with tarfile.open(root / "train.tar", "w") as tar:
        for name, content in inner.items():
            add(tar, name, content[:1560] if name == "bee.tar" else content)
    with pytest.raises(ValueError, match=r"train\.tar cannot be read.*bee\.tar: it ends within 1\.png"):
        load(root, "tar")
    assert len(load(root, "tar", max_corrupt=1).train_set) < 24


PACKED = {
    "gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress, "zstd": lambda c: b"\x28\xb5\x2f\xfd" + c,
    "a zip file": lambda c: b"PK\x03\x04" + c, "Git LFS": lambda c: b"version https://git-lfs.github.com/spec/v1\noid",
    "is no tar file, or damaged": lambda c: b"<html>not found</html>" * 99, "empty": lambda c: b"",
    "or damaged: truncated": lambda c: c[:200], "damaged: it ends within": lambda c: c[:512],
}  # fmt: skip


@FORMS
@pytest.mark.parametrize("kind", PACKED)
def test_what_is_no_plain_tar_file_is_refused_by_name(form, kind, root):
    MAKE[form](root)
    file = root / FILE[form]
    file.write_bytes(PACKED[kind](file.read_bytes()))
    for options in ({}, {"max_corrupt": 5}):  # nothing of it can be read: that is no matter of some images
        with pytest.raises(ValueError, match=kind) as error:
            load(root, form, **options)
        assert str(file) in str(error.value)
        assert str(error.value) in attention(root, form, **options)


def test_a_compressed_shard_by_its_name(root):
    shards(root)
    (root / "tiny-train-0007.tar.gz").write_bytes(gzip.compress((root / "tiny-train-0001.tar").read_bytes()))
    with pytest.raises(
        ValueError, match=r"tiny-train-0007\.tar\.gz is compressed with gzip: a plain tar file is needed"
    ):
        load(root, "wds")


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"splits": []}',
        '{"splits": {"train": {}}}',
        '{"splits": {"train": [1]}}',
        '{"splits": {"train": {"filenames": "a.tar"}}}',
        pytest.param('{"a":' * 100_000, id="deep"),
    ],
)
def test_an_info_file_of_another_shape(text, root):
    shards(root)
    (root / "_info.json").write_text(text)
    with pytest.raises(ValueError, match=r"_info\.json is not as expected"):
        load(root, "wds")
    (root / "_info.json").write_text(json.dumps({"splits": {"train": {"filenames": ["gone.tar"]}}}))
    with pytest.raises(FileNotFoundError, match=r"_info\.json lists gone\.tar, which is no file in"):
        load(root, "wds")


def test_a_changed_tar_file_is_indexed_again_and_a_broken_cache_ignored(root, tmp_path):
    shards(root)
    assert len(load(root, "wds").train_set) == 24
    file = root / "tiny-train-0000.tar"
    stat = file.stat()
    content = bytearray(file.read_bytes())
    with tarfile.open(file) as tar:
        label = next(entry for entry in tar if entry.name.endswith(".cls"))
    content[label.offset_data : label.offset_data + 1] = (
        b"2" if content[label.offset_data : label.offset_data + 1] != b"2" else b"1"
    )
    before = load(root, "wds").train_set.split.labels.copy()
    file.write_bytes(content)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # size and time as before
    after = load(root, "wds").train_set.split.labels
    assert sorted(before) != sorted(after)
    for text in ("[]", "{", '{"x": 1}', "5", ""):
        for kept in (tmp_path / "cache" / "dynvit" / "archives").glob("*.json"):
            kept.write_text(text)
        assert sorted(load(root, "wds").train_set.split.labels) == sorted(after)


def test_damaged_files_never_pass_unnoticed(root):
    """Bytes of a shard are changed or cut at random: all samples are there, or the file is named."""
    shards(root)
    file, draw = root / "tiny-train-0001.tar", random.Random(1)
    whole = file.read_bytes()
    for _ in range(150):
        spoiled = bytearray(whole)
        if draw.random() < 0.5:
            del spoiled[draw.randrange(len(whole)) :]
        else:
            at = draw.randrange(len(whole))
            spoiled[at : at + 8] = draw.randbytes(8)
        file.write_bytes(spoiled)
        found = " ".join(text for level, text, _ in inspect_data(data(root, "wds"), 4) if level != "fine")
        try:
            complete = len(load(root, "wds").train_set) == 24
        except ValueError as error:
            complete, found = False, found if file.name in str(error) else ""
        assert complete or file.name in found


def test_doctor_names_whatever_reading_raises(root, monkeypatch):
    from dynvit.data import inspect

    shards(root)

    def fail(data):
        raise RuntimeError("the library's words")

    monkeypatch.setattr(inspect, "read_listing", fail)
    assert attention(root, "wds") == ["RuntimeError: the library's words"]


def test_an_image_that_ends_too_early_in_a_whole_tar_file(root):
    shards(root)
    with tarfile.open(root / "tiny-train-0000.tar", "a") as tar:
        add(tar, "cut.png", encoded(1, 1, blue=77)[:50])
        add(tar, "cut.cls", b"1")
    with pytest.raises(ValueError, match=r"tiny-train-0000\.tar:cut\.png cannot be read as an image"):
        load(root, "wds", in_memory="always")
    assert io.BytesIO(encoded(1, 1)).read(4) == b"\x89PNG"
