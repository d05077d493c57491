"""What is left out of a data set, doubled, or in both splits is said by name, and the same for every form."""

import hashlib
import json
import os
import shutil
import socket
import tarfile

import pytest
from made_images import CLASSES, add, encoded, folders, shards, tar_of_folders, tar_per_class

from dynvit.config.data import Data
from dynvit.data.factory import index_dataset, read_listing
from dynvit.data.inspect import inspect_data
from dynvit.data.listing.names import holds_words, shown


def data(root, name="folder", **options):
    return Data(name=name, root=str(root), image_size=8, **options)


def left_out(root, name="folder", **options):
    """{(split, kind): count} of all that is remarked, but for copies in a class: most tests write one image often."""
    return {
        (r.where.replace(str(root), "root"), r.kind): r.count
        for r in index_dataset(data(root, name, **options)).remarks
        if r.kind != ONE_CLASS
    }


def sizes(root, name="folder", **options):
    index = index_dataset(data(root, name, **options))
    return len(index.classes), len(index.train), len(index.val)


def doctor(root, name="folder", **options):
    return [(level, text) for level, text, _ in inspect_data(data(root, name, **options), 4)]


def refused(root, name="folder", **options):
    """The error, which the doctor finds as well."""
    with pytest.raises((ValueError, OSError)) as error:
        index_dataset(data(root, name, **options))
    assert ("attention", str(error.value)) in doctor(root, name, **options)
    return str(error.value)


def more(file, members):
    """Append members to a tar file."""
    with tarfile.open(file, "a") as tar:
        for name, content in members.items():
            add(tar, name, content)


NEW = encoded(1, 3, blue=200)
SYSTEM = "hidden or of an operating system"


# ---- shards: whole words decide


@pytest.mark.parametrize(
    ("name", "train", "val"),
    [
        ("retrieval-train-0000.tar", True, False), ("evaltrain-0.tar", False, False), 
        ("train-interval.tar", True, False),
        ("carnival_train.tar", True, False), ("val-trainsize224.tar", False, True),
        ("imagenet1k-train-0000.tar", True, False),
        ("train0001.tar", True, False), ("ImageNetTrain-1.tar", True, False), ("TRAIN.tar", True, False),
        ("restrained-0.tar", False, False), ("value-0.tar", False, False), ("train/0000.tar", True, False),
        ("validation_3.tar", False, True), ("trainval.tar", False, False), ("pretraining-val.tar", False, True),
        ("training-3.tar", True, False), ("my.eval.3.tar", False, True), ("valley.tar", False, False),
    ],
)  # fmt: skip
def test_words_of_shards(name, train, val, root):
    shards(root)
    for file in root.glob("tiny-test-*"):
        file.rename(root / file.name.replace("test", "val"))
    before = sizes(root, "wds")
    (root / name).parent.mkdir(exist_ok=True)
    with tarfile.open(root / name, "w") as tar:
        add(tar, "x.png", NEW)
        add(tar, "x.cls", b"1")
    assert sizes(root, "wds") == (3, before[1] + train, before[2] + val)
    assert (("root", "in neither split") in left_out(root, "wds")) == (not train and not val)


@pytest.mark.parametrize("name", ["train-val-0.tar", "test_train.tar", "val/train-0.tar", "trainTest.tar"])
def test_a_shard_that_fits_both_splits_is_refused_by_name(name, root):
    shards(root)
    (root / name).parent.mkdir(exist_ok=True)
    shutil.copy(root / "tiny-train-0000.tar", root / name)
    assert refused(root, "wds").startswith(f"{name}: the name fits the training and the validation split")


def test_words_are_whole():
    assert holds_words("my-train_01", "train") and holds_words("a/imagenet1k-train", "imagenet1k-train")
    assert not any(holds_words(name, "val") for name in ("interval", "value", "evaluate-3", "carnival"))


def test_given_splits_are_words_too(root):
    shards(root)
    shutil.copy(root / "tiny-train-0000.tar", root / "tiny-pretrain-0000.tar")
    assert sizes(root, "wds", splits=("train", "test")) == (3, 24, 12)
    assert "with dev as a word" in refused(root, "wds", splits=("train", "dev"))


# ---- the same in both splits


def test_the_same_file_in_both_splits(root):
    folders(root)
    os.symlink(root / "train" / "bee" / "2.png", root / "test" / "bee" / "linked.png")
    text = refused(root)
    assert "train/ and test/ have 1 files in common" in text and "test/bee/linked.png is " in text
    (root / "test" / "bee" / "linked.png").unlink()
    os.link(root / "train" / "bee" / "2.png", root / "test" / "bee" / "hard.png")
    assert "test/bee/hard.png is " in refused(root)


def test_a_split_that_is_a_link_to_the_other(root):
    folders(root)
    os.symlink(root / "train", root / "val")
    assert "have 24 files in common" in refused(root)


def test_the_same_shard_in_both_splits(root):
    shards(root, info=True)
    info = json.loads((root / "_info.json").read_text())
    info["splits"]["test"]["filenames"].append("tiny-train-0001.tar")
    (root / "_info.json").write_text(json.dumps(info))
    assert "1 files in common" in refused(root, "wds") and "tiny-train-0001.tar" in refused(root, "wds")


@pytest.mark.parametrize(("name", "make"), [("wds", shards), ("tar", tar_per_class)])
def test_a_copy_of_a_tar_file_in_the_other_split(name, make, root):
    make(root)
    source, copy = ("tiny-train-0000.tar", "tiny-test-0009.tar") if name == "wds" else ("train/ant.tar", "test/ant.tar")
    shutil.copy(root / source, root / copy)
    text = refused(root, name)
    assert "tar files of the same content" in text and source in text and copy in text


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("form", ["folder", "tar", "wds"])
def test_copies_of_images_in_the_other_split_are_counted(form, count, root):
    make = {"folder": folders, "tar": tar_of_folders, "wds": shards}[form]
    make(root)
    for i in range(count):
        same = encoded(1, i)
        if form == "folder":
            (root / "test" / "bee" / f"copy{i}.png").write_bytes(same)
        elif form == "tar":
            more(root / "test.tar", {f"bee/copy{i}.png": same})
        else:
            more(root / "tiny-test-0000.tar", {f"copy{i}.png": same, f"copy{i}.cls": b"1"})
    where = {"folder": "test/", "tar": "test.tar", "wds": "test"}[form]
    assert left_out(root, form) == {(where, "validation images with the bytes of a training image"): count}
    levels = {text: level for level, text in doctor(root, form)}
    (text,) = (text for text in levels if "with the bytes of" in text)
    assert text.startswith(f"{where}: {count} of {12 + count} validation images") and "copy0" in text
    assert levels[text] == ("note" if count == 1 else "attention")


# ---- twice in one split

DOUBLED_TARS = "tar files with the content of another one"
TWO_CLASSES = "images with the bytes of an image of another class"
ONE_CLASS = "images with the bytes of another one of their class"


@pytest.mark.parametrize(
    ("form", "make", "source", "copy"),
    [
        ("wds", shards, "tiny-train-0000.tar", "tiny-train-0002.tar"),
        ("tar", tar_per_class, "train/ant.tar", "train/zebra.tar"),
    ],
)
def test_a_copy_of_a_tar_file_in_its_split_is_remarked_and_read(form, make, source, copy, root):
    make(root)
    shutil.copy(root / source, root / copy)
    if form == "tar":  # the copy is a class of its own
        with tarfile.open(root / "test" / "zebra.tar", "w") as tar:
            add(tar, "0.png", NEW)
    also = {("train", TWO_CLASSES): 16} if form == "tar" else {}
    assert left_out(root, form) == {("train", DOUBLED_TARS): 1, **also}
    assert sizes(root, form)[1] == 24 + (8 if form == "tar" else 12)
    assert ("attention", f"train: 1 {DOUBLED_TARS} ({root / copy} is {root / source})") in doctor(root, form)


@pytest.mark.parametrize("change", ["first byte", "last byte", "empty"])
def test_tar_files_that_differ_are_no_copies(change, root):
    """Of the same size all: what is in them decides."""
    shards(root)
    for name in ("tiny-train-0002.tar", "tiny-train-0003.tar"):
        with tarfile.open(root / name, "w") as tar:
            if change != "empty":
                key = f"a{'b' if change == 'first byte' and name.endswith('3.tar') else 'c'}"
                add(tar, f"{key}.cls", b"1")
                add(tar, f"{key}.png", NEW)
                last = name[-5:-4] if change == "last byte" else "0"
                add(tar, f"{key}.txt", b" " * 200_000 + last.encode())
    assert (root / "tiny-train-0002.tar").stat().st_size == (root / "tiny-train-0003.tar").stat().st_size
    assert ("train", DOUBLED_TARS) not in left_out(root, "wds")


def test_only_tar_files_that_start_alike_are_read_in_full_and_only_once(root, monkeypatch):
    from dynvit.data import overlap

    shards(root)
    shutil.copy(root / "tiny-train-0000.tar", root / "tiny-train-0002.tar")
    read, real = [], hashlib.file_digest
    monkeypatch.setattr(
        overlap.hashlib, "file_digest", lambda file, name: read.append(os.path.basename(file.name)) or real(file, name)
    )
    for _ in range(2):  # the second time from the cache
        assert left_out(root, "wds") == {("train", DOUBLED_TARS): 1}
    assert sorted(read) == ["tiny-train-0000.tar", "tiny-train-0002.tar"]


@pytest.mark.parametrize("form", ["folder", "tar", "wds"])
def test_copies_of_an_image_in_another_class_of_its_split_are_remarked(form, root):
    make = {"folder": folders, "tar": tar_of_folders, "wds": shards}[form]
    make(root)
    for name in ("ant", "bee"):  # of the same class it is a note: repeated images may be meant
        if form == "folder":
            (root / "train" / name / "copy.png").write_bytes(encoded(0, 1))
        elif form == "tar":
            more(root / "train.tar", {f"{name}/copy.png": encoded(0, 1)})
        else:
            label = str(("ant", "bee").index(name)).encode()
            more(root / "tiny-train-0000.tar", {f"{name}copy.png": encoded(0, 1), f"{name}copy.cls": label})
        where = {"folder": "train/", "tar": "train.tar", "wds": "train"}[form]
        assert left_out(root, form) == ({} if name == "ant" else {(where, TWO_CLASSES): 3})
    levels = {text: level for level, text in doctor(root, form)}
    (text,) = (text for text in levels if TWO_CLASSES in text)
    assert levels[text] == "attention" and text.startswith(f"{where}: 3 {TWO_CLASSES} (") and "copy.png" in text
    (text,) = (text for text in levels if ONE_CLASS in text)
    assert levels[text] == "note" and text.startswith(f"{where}: 1 {ONE_CLASS} (")


def test_larger_sets_are_not_read_for_copies_in_two_classes(root, monkeypatch):
    from dynvit.data import overlap

    folders(root)
    (root / "train" / "bee" / "copy.png").write_bytes(encoded(0, 1))
    monkeypatch.setattr(overlap, "ALL", 37)
    assert left_out(root) == {("train/", TWO_CLASSES): 2}
    monkeypatch.setattr(overlap, "ALL", 36)
    monkeypatch.setattr(overlap, "_digests", lambda source, indices: pytest.fail("images are read"))
    assert left_out(root) == {}


# ---- what makes no sample


def test_entries_of_shards_without_a_sample(root):
    shards(root)
    more(
        root / "tiny-train-0000.tar",
        {
            "alone.png": NEW, "img.v2.1.png": NEW, "img.v2.1.cls": b"1", "label.cls": b"1",
            "b.heic": NEW, "b.cls": b"1",
            "two.png": NEW, "two.jpg": NEW, "two.cls": b"1", "bmp.bmp": NEW, "bmp.cls": b"1", "noending": NEW,
            "dir/._x.png": NEW, "__MACOSX/x.png": NEW, "caption.json": b'{"text": "no label"}', "caption.jpg": NEW,
        },
    )  # fmt: skip
    assert left_out(root, "wds") == {
        ("train", "an image without .cls or .json label"): 2,
        ("train", "a sample's name with a dot (the key ends at the first dot)"): 2,
        ("train", "part of a sample without an image"): 2,
        ("train", "an ending that is not read"): 1,
        ("train", "no ending"): 1,
        ("train", "a further image of its sample"): 1,
        ("train", SYSTEM): 2,
    }
    assert sizes(root, "wds") == (3, 26, 12)
    texts = " ".join(text for level, text in doctor(root, "wds") if level == "attention")
    assert "alone.png" in texts and "img.v2.1.cls" in texts and ".heic 1 (tiny-train-0000.tar:b.heic)" in texts


def test_labels_need_not_be_beside_their_images(root):
    shards(root)
    for file in root.glob("*.tar"):
        with tarfile.open(file) as tar:
            found = {entry.name: tar.extractfile(entry).read() for entry in tar}
        file.unlink()
        with tarfile.open(file, "w") as tar:
            for name in sorted(found, key=lambda name: (name.endswith("png"), name)):
                add(tar, name, found[name])
    assert sizes(root, "wds") == (3, 24, 12) and left_out(root, "wds") == {}


@pytest.mark.parametrize("form", ["folder", "tar"])
def test_other_endings_are_named_with_their_count(form, root):
    names = ["x.gif", "x.JFIF", "x.webp", "x.tif", "noending", "x.heic", "y.heic", "x.txt", "x.avif", "x.png.part"]
    if form == "folder":
        folders(root)
        for name in names:
            (root / "train" / "bee" / name).write_bytes(NEW)
    else:
        tar_of_folders(root)
        more(root / "train.tar", {f"bee/{name}": NEW for name in names})
    where = {"folder": "train/", "tar": "train.tar"}[form]
    assert sizes(root, form) == (3, 28, 12)
    assert left_out(root, form) == {
        (where, "no ending"): 1, (where, "an ending that is not read"): 4, (where, "no image by the ending"): 1,
    }  # fmt: skip
    assert any(".heic 2, .avif 1, .part 1 (bee/x.avif, bee/x.heic, " in text for _, text in doctor(root, form))


SYSTEM_NAMES = [".ipynb_checkpoints", "__MACOSX", "@eaDir", ".hidden", "$RECYCLE.BIN", "#recycle", "lost+found"]
SYSTEM_FILES = ["._0.png", ".DS_Store", "Thumbs.db", "desktop.ini", ".0.png", "THUMBS.DB"]


@pytest.mark.parametrize("form", ["folder", "tar", "tar-per-class", "wds"])
def test_names_of_operating_systems_are_left_out_of_every_form(form, root):
    make = {"folder": folders, "tar": tar_of_folders, "tar-per-class": tar_per_class, "wds": shards}[form]
    make(root)
    before = {"wds": "", "tar-per-class": ""}.get(form, "bee/")
    names = [f"{name}/1.png" for name in SYSTEM_NAMES]
    names += [before + name for name in (*SYSTEM_FILES, ".ipynb_checkpoints/2.png", "@eaDir/3.png/SYNO.png")]
    if form == "folder":
        for name in names:
            (root / "train" / name).parent.mkdir(parents=True, exist_ok=True)
            (root / "train" / name).write_bytes(NEW)
        for name in SYSTEM_NAMES:
            (root / name).mkdir()
    else:
        file = {"tar": "train.tar", "wds": "tiny-train-0000.tar"}.get(form, "train/bee.tar")
        more(root / file, dict.fromkeys(names, NEW))
        if form == "wds":
            (root / "._tiny-train-0000.tar").write_bytes(b"apple")
        if form == "tar-per-class":
            (root / "train" / "._bee.tar").write_bytes(b"apple")
    assert sizes(root, form.partition("-")[0]) == (3, 24, 12)
    found = left_out(root, form.partition("-")[0])
    assert {kind for _, kind in found} == {SYSTEM}
    inside = next(count for (where, _), count in found.items() if where.startswith("train"))
    assert inside == 15 if form in ("folder", "tar") else inside >= 13
    assert {level for level, _ in doctor(root, form.partition("-")[0])} <= {"fine", "note"}


# ---- links and doubles


def test_links_end_and_count_once(root):
    folders(root)
    bee = root / "train" / "bee"
    (bee / "more").mkdir()
    (bee / "more" / "9.png").write_bytes(NEW)
    os.symlink(bee, bee / "loop")
    os.symlink(root, bee / "up")
    os.symlink("/", bee / "top")
    os.symlink("more", bee / "again")
    os.symlink("self", bee / "self")
    os.symlink("nowhere.png", bee / "dead.png")
    os.symlink("0.png", bee / "linked.png")
    os.link(bee / "1.png", bee / "0hard.png")
    os.symlink(root / "train", root / "train" / "whole")
    assert sizes(root) == (3, 25, 12)
    assert left_out(root) == {
        ("train/", "a link to a folder that is read already"): 5,
        ("train/", "no plain file, or a link to nothing"): 2,
        ("train/", "the same file again in its class"): 2,
        ("train/", "folders with images below their class"): 1,
    }


def test_linked_sets_are_read(root):
    """Folders of links to files elsewhere, as subsets of large sets are often made."""
    store = root.parent / "store"
    folders(store)
    for split in ("train", "test"):
        for name in ("ant", "bee"):
            (root / split).mkdir(exist_ok=True)
            os.symlink(store / split / name, root / split / name)
        (root / split / "cat").mkdir()
        for file in (store / split / "cat").iterdir():
            os.symlink(file, root / split / "cat" / file.name)
    assert sizes(root) == (3, 24, 12) and left_out(root) == {}


def test_a_file_of_two_classes(root):
    folders(root)
    os.symlink("../ant/0.png", root / "train" / "bee" / "shared.png")
    assert sizes(root) == (3, 25, 12)
    assert left_out(root) == {("train/", "files in two classes"): 1}


def test_one_number_for_all_files_of_a_file_system(root, monkeypatch):
    """Some network file systems list all files under one inode number; only their status tells them apart."""
    from dynvit.data.formats import image_folder

    class Entry:
        def __init__(self, entry):
            self.entry, self.name, self.path = entry, entry.name, entry.path

        def __getattr__(self, name):
            return getattr(self.entry, name)

        def inode(self):
            return 0xFFFFFFFF

    folders(root)
    os.link(root / "train" / "bee" / "1.png", root / "train" / "bee" / "hard.png")
    real = os.scandir
    monkeypatch.setattr(image_folder.os, "scandir", lambda path: [Entry(entry) for entry in real(path)])
    assert sizes(root) == (3, 24, 12)
    assert left_out(root) == {("train/", "the same file again in its class"): 1}


def test_pipes_and_sockets_are_left_out_and_nothing_waits_for_them(root):
    folders(root)
    os.mkfifo(root / "train" / "bee" / "pipe.png")
    os.mkfifo(root / "train" / "pipe.png")
    os.symlink("/dev/zero", root / "train" / "bee" / "endless.png")
    os.mkfifo(root / "classes.txt")
    here = os.getcwd()
    os.chdir(root / "train" / "bee")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.png")
    os.chdir(here)
    assert sizes(root) == (3, 24, 12)
    assert left_out(root) == {("train/", "no plain file, or a link to nothing"): 4}


def test_pipes_beside_tar_files(root):
    shards(root)
    os.mkfifo(root / "pipe-train-3.tar")
    os.mkfifo(root / "classes.txt")
    os.mkfifo(root / "_info.json")
    assert left_out(root, "wds") == {("root", "no plain file, or a link to nothing"): 1}
    tars = root.parent / "tars"
    tars.mkdir()
    tar_per_class(tars)
    os.mkfifo(tars / "train" / "dog.tar")
    os.mkfifo(tars / "val.tar")
    assert left_out(tars, "tar") == {
        ("train", "no plain file, or a link to nothing"): 1, ("root", "in neither split"): 1,
    }  # fmt: skip


def test_links_and_doubles_in_tar_files(root):
    tar_of_folders(root)
    with tarfile.open(root / "train.tar", "a") as tar:
        add(tar, "bee/0.png", NEW)
        for kind, name, target in (
            (tarfile.SYMTYPE, "bee/link.png", "1.png"), (tarfile.LNKTYPE, "bee/hard.png", "bee/1.png"),
            (tarfile.SYMTYPE, "ant/bee.png", "../bee/2.png"), (tarfile.SYMTYPE, "bee/dead.png", "none.png"),
            (tarfile.SYMTYPE, "bee/self.png", "self.png"), (tarfile.FIFOTYPE, "bee/pipe.png", ""),
        ):  # fmt: skip
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            tar.addfile(info)
    assert sizes(root, "tar") == (3, 25, 12)
    assert left_out(root, "tar") == {
        ("train.tar", "replaced by a later member of the same name"): 1,
        ("train.tar", "the same file again in its class"): 2,
        ("train.tar", "no plain file, or a link to nothing"): 3,
        ("train.tar", "files in two classes"): 1,
    }
    train = read_listing(data(root, "tar")).train
    contents = [hashlib.sha256(train.source.read(i)).digest() for i in range(len(train.source))]
    assert hashlib.sha256(NEW).digest() in contents  # the later one, as tar extracts it


def test_a_shard_that_is_listed_twice(root):
    shards(root, info=True)
    info = json.loads((root / "_info.json").read_text())
    info["splits"]["train"]["filenames"] *= 2
    (root / "_info.json").write_text(json.dumps(info))
    assert sizes(root, "wds") == (3, 24, 12)
    assert left_out(root, "wds") == {("train", "the same file again in its class"): 2}


# ---- classes


def test_everything_below_one_class(root):
    folders(root)
    for split in ("train", "test"):
        (root / split).rename(root / "images")
        (root / split).mkdir()
        (root / "images").rename(root / split / "images")
    text = refused(root)
    assert "train/: all 24 images in " in text and "are of one class, images" in text
    assert "its folders images/ant, images/bee, images/cat look like the classes" in text
    assert sizes(root, splits=("train/images", "test/images")) == (3, 24, 12)


def test_images_without_classes(root):
    for split in ("train", "val"):
        (root / split).mkdir()
        (root / split / "0.png").write_bytes(NEW)
        with tarfile.open(root / f"{split}.tar", "w") as tar:
            add(tar, "0.png", NEW)
    assert "train/: no images in class folders in " in refused(root) and "1 outside the class folders" in refused(root)
    assert "train.tar: no images in class folders in " in refused(root, "tar")


@pytest.mark.parametrize("inside", ["{}", "images/{}", "train/ant/{}"])
def test_flat_tar_files_are_refused(inside, root):
    for split in ("train", "val"):
        with tarfile.open(root / f"{split}.tar", "w") as tar:
            for i in range(4):
                add(tar, inside.format(f"{i}.png"), encoded(1, i, blue=len(split)))
    text = refused(root, "tar")
    assert "no images in class folders" in text if inside == "{}" else "all 4 images in" in text


def test_shards_and_a_hub_of_one_class(root):
    for split in ("train", "val"):
        with tarfile.open(root / f"{split}.tar", "w") as tar:
            for i in range(4):
                add(tar, f"{i}.png", encoded(1, i, blue=len(split)))
                add(tar, f"{i}.cls", b"0")
    assert "train: all 4 images in " in refused(root, "wds")


def test_folders_around_all_classes_of_a_tar_file(root):
    for split in ("train", "val"):
        with tarfile.open(root / f"{split}.tar", "w") as tar:
            for name in ("ant", "bee"):
                for i in range(4):
                    add(tar, f"./set/{split}/{name}/{i}.png", encoded(1, i, blue=len(split)))
                add(tar, f"./set/{split}/{name}/deep/9.png", encoded(1, 9, blue=len(split) + len(name)))
            add(tar, f"./set/{split}/cover.png", NEW)
            add(tar, "./set/readme.txt", b"")
    assert sizes(root, "tar") == (2, 10, 10)
    found = left_out(root, "tar")
    assert found["train.tar", "outside the class folders"] == 1
    assert found["train.tar", "folders with images below their class"] == 2


@pytest.mark.parametrize(("label", "shows"), [("-1", "-1 of "), ("3", "3 of "), ("1000", "1000 of ")])
def test_labels_that_are_no_class(label, shows, root):
    shards(root, info=True)
    more(root / "tiny-test-0001.tar", {"new.png": NEW, "new.cls": label.encode()})
    text = refused(root, "wds")
    assert "test: 1 labels are not from 0 to 2" in text and shows in text and "tiny-test-0001.tar:new.png" in text


NO_LABELS = ["cat", "", "1.5", "true", "null", "[1]", "1e999", "99999999999999999999999"]


@pytest.mark.parametrize("label", [*NO_LABELS, pytest.param("[" * 100_000, id="deep")])
def test_labels_that_are_no_number(label, root):
    shards(root)
    more(root / "tiny-train-0001.tar", {"new.png": NEW, "new.cls": label.encode()})
    text = refused(root, "wds")
    assert "tiny-train-0001.tar:new." in text and ("holds no label" in text or "a label that is no class" in text)


CONTRADICTING = ['{"label": 2}', '{"label": 2.0}', '{"label": 1, "label": 2}', '{"label": 0, "b": {"label": 1}}']


@pytest.mark.parametrize("text", CONTRADICTING)
def test_labels_of_a_sample_that_contradict(text, root):
    shards(root)
    more(root / "tiny-train-0001.tar", {"new.png": NEW, "new.cls": b"1", "new.json": text.encode()})
    other = 0 if text == CONTRADICTING[-1] else 2
    assert refused(root, "wds") == (
        f"{root}/tiny-train-0001.tar: new.cls holds the label 1 and new.json the label {other}: correct one of them"
    )


AGREEING = [
    '{"label": 1}', '{"label": 1.0}', '{"label": "cat"}', '{"label": "2"}', '{"label": true}', '{"label": 1.5}',
    '{"label": null}', '{"label": [2]}', '{"label": {"label": 2}}', '{"inner": {"label": 2}}', "[]", "2", "no json", "",
    '{"label": 1e999}', '{"label": NaN}', '{"label": 1, "label": 1}', '[["label", 2]]',
]  # fmt: skip


@pytest.mark.parametrize("text", AGREEING)
def test_a_json_beside_the_label_may_be_of_another_purpose(text, root):
    shards(root)
    more(root / "tiny-train-0001.tar", {"new.png": NEW, "new.cls": b"1", "new.json": text.encode()})
    assert sizes(root, "wds") == (3, 25, 12) and left_out(root, "wds") == {}


@pytest.mark.parametrize("text", ['{"label": 0, "label": 1}', '{"label": 1, "x": {}, "label": 1}'])
def test_two_labels_in_a_json(text, root):
    shards(root, "json")
    more(root / "tiny-train-0001.tar", {"new.png": NEW, "new.json": text.encode()})
    assert refused(root, "wds") == (f"{root}/tiny-train-0001.tar:new.json holds no label: it has the key label 2 times")


def test_only_labels_of_the_outer_object_of_a_json_count(root):
    shards(root, "json")
    text = '{"box": {"label": 7, "label": 8}, "label": 1, "x": 0, "x": 1}'
    more(root / "tiny-train-0001.tar", {"new.png": NEW, "new.json": text.encode()})
    train = read_listing(data(root, "wds")).train
    assert dict(zip((m.name for m in train.source.members), train.labels, strict=True))["new.png"] == 1


def test_an_info_file_with_a_byte_order_mark(root):
    shards(root, info=True)
    info = json.loads((root / "_info.json").read_text())
    info["splits"]["train"]["num_samples"] = 24
    (root / "_info.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(info).encode())
    assert sizes(root, "wds") == (3, 24, 12)
    info["splits"]["train"]["num_samples"] = 25
    (root / "_info.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(info).encode())
    assert "num_samples 25, its shards hold 24" in refused(root, "wds")


def test_shards_in_folders_of_other_letters(root):
    shards(root)
    for split, folder in (("train", "Train"), ("test", "TEST")):
        (root / folder).mkdir()
        for i in range(2):
            (root / f"tiny-{split}-{i:04d}.tar").rename(root / folder / f"{i}.tar")
    assert sizes(root, "wds") == (3, 24, 12)


def test_blank_lines_of_classes_txt(root):
    shards(root, info=True)
    (root / "classes.txt").write_bytes(b"\xef\xbb\xbfant\r\nbee\r\ncat\r\n\r\n\n")
    assert index_dataset(data(root, "wds")).classes == ("ant", "bee", "cat")
    (root / "classes.txt").write_bytes("ant\x0c1\nbee\u2028sting\ncat".encode())
    assert index_dataset(data(root, "wds")).classes == ("ant\x0c1", "bee\u2028sting", "cat")
    (root / "classes.txt").write_text("ant\n\ncat\n")
    assert "classes.txt: line 2 is blank" in refused(root, "wds")
    (root / "classes.txt").write_text("cafe\u0301\nbee\ncaf\u00e9\n", encoding="utf-8")
    assert "classes.txt: lines 1 and 3 are both caf" in refused(root, "wds")
    (root / "classes.txt").write_bytes(b"ant\xff\nbee\ncat")
    assert "classes.txt is not in UTF-8" in refused(root, "wds")


def test_the_number_of_samples_that_the_info_file_says(root):
    shards(root, info=True)
    info = json.loads((root / "_info.json").read_text())
    number = len(index_dataset(data(root, "wds")).train)
    for said, wrong in ((number, False), (number + 1, True), ("many", True)):
        info["splits"]["train"]["num_samples"] = said
        (root / "_info.json").write_text(json.dumps(info))
        if wrong:
            assert f"num_samples {said!r}, its shards hold {number}" in refused(root, "wds")
        else:
            assert len(index_dataset(data(root, "wds")).train) == number


def test_numbers_of_many_digits_in_names(root):
    tar_of_folders(root)
    number = len(index_dataset(data(root, "tar")).train)
    with tarfile.open(root / "train.tar", "a") as tar:
        add(tar, f"bee/{'9' * 5000}.png", NEW)
    assert len(index_dataset(data(root, "tar")).train) == number + 1


def test_classes_of_one_split_only(root):
    shards(root)
    more(root / "tiny-train-0001.tar", {"new.png": NEW, "new.cls": b"3"})
    assert "test: no image of 1 classes (3) in " in refused(root, "wds")
    assert sizes(root, "wds", labels=(0, 1, 2)) == (3, 24, 12)


def test_classes_that_only_a_list_has(root):
    shards(root)
    (root / "classes.txt").write_text("ant\nbee\ncat\ndog\n")
    assert left_out(root, "wds") == {("train", "classes without an image in both splits"): 1}


NFC, NFD = "caf\u00e9", "cafe\u0301"


def test_names_encoded_in_two_ways_are_the_same_class(root):
    folders(root)
    os.rename(root / "train" / "bee", root / "train" / NFC)
    os.rename(root / "test" / "bee", root / "test" / NFD)
    (
        root / "test" / "cafz"
    ).mkdir()  # so that the order of names differs: cafe and accent before z, one letter after it
    (root / "train" / "cafz").mkdir()
    (root / "train" / "cafz" / "0.png").write_bytes(encoded(5, 0))
    (root / "test" / "cafz" / "0.png").write_bytes(encoded(5, 1))
    index = index_dataset(data(root))
    assert index.classes == ("ant", "cafz", NFC, "cat")[:1] + tuple(sorted(("cafz", NFC, "cat")))
    for split in (index.train, index.val):
        for i in range(len(split)):
            name = os.path.basename(os.path.dirname(split.name(i)))
            assert {NFD: NFC}.get(name, name) == index.classes[split.labels[i]]


def test_twins_in_one_split_are_refused_and_shown_escaped(root):
    folders(root)
    for split in ("train", "test"):
        for name in (NFC, NFD):
            shutil.copytree(root / split / "bee", root / split / name)
    assert r"'caf\xe9' and 'cafe\u0301'" in refused(root) or r"'cafe\u0301' and 'caf\xe9'" in refused(root)


def test_names_that_differ_in_case(root):
    folders(root)
    os.rename(root / "test" / "bee", root / "test" / "Bee")
    assert "not in both: 'Bee', 'bee'" in refused(root)
    os.rename(root / "train" / "bee", root / "train" / "bee ")
    assert "not in both: 'Bee', 'bee '" in refused(root)
    os.rename(root / "test" / "Bee", root / "test" / "bee")
    os.rename(root / "train" / "bee ", root / "train" / "bee")
    for split in ("train", "test"):
        (root / split / "Ant").mkdir()
        (root / split / "Ant" / "0.png").write_bytes(encoded(3, len(split)))
    assert left_out(root) == {
        (f"{split}/", "pairs of classes whose names look alike"): 1 for split in ("train", "test")
    }


@pytest.mark.parametrize(
    ("names", "level", "said"),
    [
        (
            ("2", "10", "1"),
            "attention",
            "2 classes numbered in the order of text (1, 10, 2); tar files and timm have 1, 2",
        ),
        (
            ("cat2", "cat10", "a"),
            "note",
            "2 classes numbered in the order of text (a, cat10, cat2); tar files and timm",
        ),
        (
            ("Zebra", "ant", "bee"),
            "note",
            "3 classes numbered in the order of text (Zebra, ant, bee); tar files and timm",
        ),
        (("02", "10", "01"), "", ""),
    ],
)
def test_classes_that_have_other_numbers_in_tar_files_are_said(names, level, said, root):
    """Weights know classes by number: those of folders 0 to 999 would be evaluated on other classes."""
    folders(root)
    for split in ("train", "test"):
        for old, new in zip(CLASSES, names, strict=True):
            os.rename(root / split / old, root / split / f"new {new}")
        for new in names:
            os.rename(root / split / f"new {new}", root / split / new)
    found = [(kind, text) for kind, text in doctor(root) if "order of text" in text]
    assert [kind for kind, _ in found] == [level] * bool(level)
    assert all(text.startswith(f"train/: {said}") for _, text in found)
    for split in ("train", "test"):
        with tarfile.open(root / f"{split}.tar", "w") as tar:
            for file in sorted((root / split).rglob("*.png")):
                tar.add(file, file.relative_to(root / split))
        shutil.rmtree(root / split)
    assert not [text for _, text in doctor(root, "tar") if "order of text" in text]


def test_an_empty_class_or_split_is_named_with_its_place(root):
    folders(root)
    for split in ("train", "test"):
        (root / split / "dog").mkdir()
    text = refused(root)
    assert text == f"train/: no image of 1 classes (dog) in {root}/train"
    (root / "train" / "dog" / "x.heic").write_bytes(NEW)
    assert "left out: 1 an ending that is not read (dog/x.heic)" in refused(root)
    shutil.rmtree(root / "test")
    (root / "test").mkdir()
    assert refused(root) == f"test/: no images in class folders in {root}/test"


@pytest.mark.parametrize("form", ["tar", "wds"])
def test_empty_tar_files(form, root):
    for split in ("train", "val"):
        tarfile.open(root / f"{split}.tar", "w").close()
    what = {"tar": "train.tar: no images in class folders", "wds": "train: no images with a label"}[form]
    assert f"{what} in {root}" in refused(root, form)


def test_a_folder_that_cannot_be_read_is_an_error(root, monkeypatch):
    from dynvit.data.formats import image_folder

    def closed(path):
        if str(path).endswith("bee"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    folders(root)
    real = os.scandir
    monkeypatch.setattr(image_folder.os, "scandir", closed)
    assert "train/bee" in refused(root)


@pytest.mark.parametrize("name", [b"\xff.png", b"a\nb.png", b"\x1b[31m.png", "\u200b.png".encode()])
def test_names_that_a_terminal_cannot_show(name, root):
    folders(root)
    file = os.path.join(os.fsencode(root / "train" / "bee"), name)
    with open(file, "wb") as out:
        out.write(b"no image")
    text = " ".join(text for _, text in doctor(root))
    assert text.isprintable() and text.encode() and "train/bee/" in text
    assert shown(os.fsdecode(name)).isprintable()


def test_unused_folders_beside_the_splits_are_named(root):
    folders(root)
    shutil.copytree(root / "train", root / "val")
    for file in (root / "val").rglob("*.png"):
        file.write_bytes(file.read_bytes() + b"other")
    assert left_out(root) == {("root", "in neither split"): 1}  # test/, as val/ comes first


@pytest.mark.parametrize(("name", "make"), [("folder", folders), ("tar", tar_per_class)])
def test_splits_of_the_same_name_in_two_folders_are_told_apart(name, make, root, tmp_path):
    """The result's counts are by split: those of the second were in the place of the first's."""
    make(root)
    for split, place in (("train", "one"), ("test", "two")):
        (root / place).mkdir()
        (root / split).rename(root / place / "data")
        (root / place / "data" / ".DS_Store").write_bytes(b"")
    end = "/" if name == "folder" else ""
    found = left_out(root, name, splits=("one/data", "two/data"))
    assert found == {(f"one/data{end}", SYSTEM): 1, (f"two/data{end}", SYSTEM): 1}


def test_files_beside_shards_are_named_and_capital_endings_read(root):
    shards(root, info=False)
    (root / "tiny-train-0001.tar").rename(root / "tiny-train-0001.TAR")
    for name in ("tiny-train-0002.tar.part", "tiny-train-0003.zip", "classes.csv", ".DS_Store"):
        (root / name).write_bytes(b"")
    assert sizes(root, "wds") == (3, 24, 12)
    assert left_out(root, "wds") == {("root", "in neither split"): 2, ("root", SYSTEM): 1}


def test_other_spellings_of_the_splits(root):
    folders(root)
    (root / "train").rename(root / "Training")
    (root / "test").rename(root / "Valid")
    assert sizes(root) == (3, 24, 12)
    tars = root.parent / "tars"
    tars.mkdir()
    tar_of_folders(tars)
    (tars / "test.tar").rename(tars / "eval.tar")
    assert sizes(tars, "tar") == (3, 24, 12)


def test_listing_asks_for_the_status_of_folders_only(root, monkeypatch):
    """What makes 100 000 files a matter of a second, and a million on a file server bearable."""
    from dynvit.data.formats import image_folder

    folders(root)
    for i in range(1000):
        (root / "train" / "bee" / f"new{i}.png").touch()
    asked, real = [], os.stat
    monkeypatch.setattr(image_folder.os, "stat", lambda path, **options: asked.append(path) or real(path, **options))
    assert len(read_listing(data(root)).train.labels) == 1024
    assert not [path for path in asked if str(path).endswith(".png")]
