"""Files that a trial reads, by content: what is seen as a change and what is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from studies.engine.storage import inputs


def images(folder: Path) -> Path:
    for name in ("train/cat/1.png", "train/dog/1.png", "val/cat/1.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"image")
        os.utime(folder / name, (1_700_000_000, 1_700_000_000))
    return folder


def difference(before: Path, now: Path) -> str:
    return inputs.difference(inputs.describe(before) or {}, inputs.describe(now))


def test_a_folder_is_its_names_sizes_and_dates(tmp_path: Path) -> None:
    folder = images(tmp_path / "set")
    before = inputs.describe(folder)
    assert before is not None and (before["files"], before["bytes"], before["newest"]) == (3, 15, 1_700_000_000)
    assert inputs.difference(before, inputs.describe(folder)) == ""
    (folder / ".hidden").write_text("")
    assert inputs.difference(before, inputs.describe(folder)) == ""
    os.utime(folder / "val/cat/1.png", (1_700_000_001, 1_700_000_001))
    assert inputs.difference(before, inputs.describe(folder)) == "has files that were written since"
    (folder / "val/cat/1.png").write_bytes(b"another")
    assert inputs.difference(before, inputs.describe(folder)) == "has files of other names or sizes"
    (folder / "val/cat/2.png").write_bytes(b"one more")
    assert inputs.difference(before, inputs.describe(folder)) == "has 4 files, 3 then"
    assert inputs.difference(before, inputs.describe(tmp_path / "gone")) == "is not there any more"


def test_a_copy_elsewhere_is_the_same_whatever_its_dates(tmp_path: Path) -> None:
    before, copy = images(tmp_path / "one"), images(tmp_path / "two")
    os.utime(copy / "val/cat/1.png")
    assert difference(before, copy) == ""
    os.rename(copy / "val/cat/1.png", copy / "val/cat/3.png")
    assert difference(before, copy) == "has files of other names or sizes"


def test_of_a_huge_folder_the_names_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "MOST_SIZES", 2)
    folder = images(tmp_path / "set")
    before = inputs.describe(folder)
    assert before is not None and before["bytes"] == 0
    (folder / "val/cat/1.png").write_bytes(b"another")
    assert inputs.difference(before, inputs.describe(folder)) == ""
    os.rename(folder / "val/cat/1.png", folder / "val/cat/3.png")
    assert inputs.difference(before, inputs.describe(folder)) == "has files of other names or sizes"


def test_a_file_is_its_content(tmp_path: Path) -> None:
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"trained")
    before = inputs.describe(weights) or {}
    os.utime(weights)
    assert inputs.difference(before, inputs.describe(weights)) == ""
    weights.write_bytes(b"TRAINED")
    assert inputs.difference(before, inputs.describe(weights)) == "has other content"
    assert inputs.describe(tmp_path / "none") is None


def test_a_large_file_is_its_size_and_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "MOST_BYTES", 3)
    file = tmp_path / "set.tar"
    file.write_bytes(b"images")
    os.utime(file, (1_700_000_000, 1_700_000_000))
    before = inputs.describe(file)
    assert before == {"path": str(file), "bytes": 6, "newest": 1_700_000_000}
    assert inputs.difference(before, inputs.describe(file)) == ""
    os.utime(file, (1_700_000_009, 1_700_000_009))
    assert inputs.difference(before, inputs.describe(file)) == "was written since"
    file.write_bytes(b"more images")
    assert inputs.difference(before, inputs.describe(file)) == "has another size"


def test_a_link_to_nowhere_and_a_loop_hide_no_change(tmp_path: Path) -> None:
    (tmp_path / "train" / "cat").mkdir(parents=True)
    (tmp_path / "train" / "cat" / "a.png").write_bytes(b"a")
    (tmp_path / "train" / "cat" / "gone.png").symlink_to("/nowhere.png")
    (tmp_path / "train" / "cat" / "loop").symlink_to("..")
    (tmp_path / "train" / "dog").symlink_to("cat")
    before = inputs.describe(tmp_path)
    assert before is not None and before["files"] == 6
    (tmp_path / "train" / "cat" / "b.png").write_bytes(b"b")
    assert inputs.difference(before, inputs.describe(tmp_path)) == "has 8 files, 6 then"
