"""Whether images are there twice is found once for a large set, and again where a file changed or could not be read."""

import os

import pytest
from made_images import encoded, folders, shards, tar_of_folders

from dynvit.config.data import Data
from dynvit.data import overlap
from dynvit.data.factory import index_dataset
from dynvit.data.formats.image_folder import ImageFiles

SAME = "validation images with the bytes of a training image"


@pytest.fixture
def comparisons(monkeypatch):
    """The splits whose images are read, one by one."""
    read, of = [], overlap._digests
    monkeypatch.setattr(overlap, "FEW", 0)
    monkeypatch.setattr(overlap, "_digests", lambda source, indices: read.append(len(indices)) or of(source, indices))
    return read


def copies(root, name="folder"):
    found = index_dataset(Data(name=name, root=str(root), image_size=8)).remarks
    return {remark.kind: remark.count for remark in found if "the bytes of" in remark.kind}


@pytest.mark.parametrize(
    ("form", "make"), [("folder", folders), ("tar", tar_of_folders), ("wds", shards)], ids=["folder", "tar", "wds"]
)
def test_a_second_trial_reads_nothing(form, make, root, comparisons):
    make(root)
    first = copies(root, form)
    assert comparisons
    comparisons.clear()
    assert copies(root, form) == first and not comparisons


def test_a_changed_file_is_seen(root, comparisons):
    folders(root)
    image = next((root / "train" / "ant").iterdir())
    twin = root / "test" / "ant" / "twin.png"
    twin.write_bytes(image.read_bytes())
    assert copies(root) == {SAME: 1} == copies(root)
    status = os.stat(twin)
    twin.write_bytes(image.read_bytes()[:-1] + b"x")  # of the same size, and its time is set back
    os.utime(twin, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert copies(root) == {}
    twin.write_bytes(image.read_bytes())
    assert copies(root) == {SAME: 1}


def test_the_same_file_in_another_class_is_seen(root, comparisons):
    folders(root)
    (root / "train" / "bee" / "twin.png").write_bytes(next((root / "train" / "ant").iterdir()).read_bytes())
    (two_classes,) = copies(root)
    os.rename(root / "train" / "bee" / "twin.png", root / "train" / "ant" / "twin.png")
    assert two_classes not in copies(root)


@pytest.mark.parametrize("question", ["size", "read"])
def test_what_could_not_be_read_is_not_kept(question, root, comparisons, monkeypatch):
    folders(root)
    image = next((root / "train" / "ant").iterdir())
    (root / "test" / "ant" / "twin.png").write_bytes(image.read_bytes())
    answer = getattr(ImageFiles, question)

    def fails(self, index):
        if self.files[index].endswith("twin.png"):
            raise OSError("the network is down")
        return answer(self, index)

    with monkeypatch.context() as patch:
        patch.setattr(ImageFiles, question, fails)
        assert copies(root) == {}
    assert copies(root) == {SAME: 1}


def test_large_sets_of_which_nothing_is_read_are_not_asked_for_their_states(root, comparisons, monkeypatch):
    folders(root)
    monkeypatch.setattr(overlap, "ALL", 5)
    monkeypatch.setattr(overlap, "cached_of_all", lambda *_: pytest.fail("every file's state was asked for"))
    assert copies(root) == {} and not comparisons


def test_small_sets_leave_nothing_in_the_cache(root, tmp_path):
    folders(root)
    (root / "test" / "ant" / "new.png").write_bytes(encoded(1, 3, blue=200))
    copies(root)
    assert not (tmp_path / "cache" / "dynvit" / "archives").exists()
