"""`studies doctor --data`: what is there against what the study expects."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from made_images import folders, shards

from studies.engine.cli.main import cli

STUDY = """\
study: pictures
title: Of pictures
task: classify
seeds: [0]
base:
  data: {name: folder, image_size: 8, classes: 3, images: 24}
  train: {batch_size: 4}
scales:
  here: {}
  shards: {data: {name: wds}}
  large: {train: {batch_size: 64}}
default_scale: here
axes:
  flip: {key: data.augment.flip, values: [true, false], baseline: true}
"""


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DYNVIT_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "pictures.yaml").write_text(STUDY)
    folders(tmp_path / "folder")
    return tmp_path


def doctor(*arguments: str) -> tuple[int, list[tuple[str, str]]]:
    """Exit code, and level and text of the findings."""
    shown = CliRunner().invoke(cli, ["doctor", "--json", "--data", "pictures", *arguments], standalone_mode=False)
    assert shown.exception is None, shown.exception
    return shown.return_value, [(f["level"], f["text"]) for f in json.loads(shown.output)]


def attention(*arguments: str) -> list[str]:
    code, found = doctor(*arguments)
    texts = [text for level, text in found if level == "attention"]
    assert code == bool(texts)
    return texts


def test_a_set_that_fits(pictures: Path) -> None:
    code, found = doctor()
    assert code == 0
    assert [text for _, text in found] == [  # once: the arms read the same files
        "folder, image_size 8, as pictures baseline reads it",
        "train/: 24 images in 3 classes, 8 each",
        "test/: 12 images in 3 classes, 4 each",
        "train/: 24 sampled images, shorter side 10 pixels, used at 8",
        "test/: 12 sampled images, shorter side 10 pixels, used at 8",
    ]


def test_shards(pictures: Path) -> None:
    (pictures / "wds").mkdir()
    shards(pictures / "wds", info=True)
    assert doctor("--scale", "shards")[0] == 0


def test_what_does_not_fit(pictures: Path) -> None:
    assert attention("--set", "data.classes=4") == ["data.classes expects 4 classes, folder has 3"]
    assert attention("--set", "data.images=99") == ["data.images expects 99 training images, folder has 24"]
    assert attention("--scale", "large") == ["folder has 24 training images, fewer than one batch of 64"]
    shutil.rmtree(pictures / "folder" / "test" / "bee")
    assert attention() == ["3 classes in train/, 2 in test/; not in both: bee"]
    shutil.rmtree(pictures / "folder" / "test")
    (text,) = attention()
    assert "must hold train/ and val/ (or test/), a folder per class in each; it has train" in text
    (text,) = attention("--set", "data.root=elsewhere")
    assert text.startswith("no folder ") and "elsewhere" in text


def test_a_source_is_looked_at_first(pictures: Path) -> None:
    shutil.copytree(pictures / "folder", pictures / "other")
    shutil.rmtree(pictures / "other" / "test")
    source = {"epochs": 3, "data.name": "folder", "data.root": "other", "data.image_size": 8, "data.labels": [2, 0]}
    sets = [word for key, value in source.items() for word in ("--set", f"source.{key}={value}")]
    code, found = doctor(*sets)
    assert code == 1
    assert found[0][1] == ("folder, root other, labels [2, 0], image_size 8, as pictures baseline reads it first")
    assert [level for level, _ in found].count("attention") == 1
    shutil.copytree(pictures / "folder" / "test", pictures / "other" / "test")
    code, found = doctor(*sets)
    assert (code, found[1][1]) == (0, "train/: 16 images in 2 classes, 8 each")
    assert [text for _, text in found].count("folder, image_size 8, as pictures baseline reads it") == 1


def test_unreadable_and_small_images(pictures: Path) -> None:
    broken = pictures / "folder" / "train" / "cat" / "3.png"
    broken.write_bytes(b"nothing")
    assert attention() == [f"train/: 1 of 24 sampled images cannot be read: {broken}"]
    assert attention("--set", "data.max_corrupt=1") == []
    notes = [
        text
        for level, text in doctor("--set", "data.image_size=16", "--set", "data.max_corrupt=1")[1]
        if level == "note"
    ]
    assert any("shorter side 10 pixels, used at 16" in text for text in notes)


def test_options_belong_together(pictures: Path) -> None:
    shown = CliRunner().invoke(cli, ["doctor", "--scale", "here"])
    assert shown.exit_code == 2
    assert "--scale and --set go with --data STUDY" in shown.output


def test_what_is_left_out_is_noted(pictures: Path) -> None:
    (pictures / "folder" / "train" / "bee" / ".DS_Store").write_bytes(b"")
    code, found = doctor()
    assert code == 0
    assert ("note", "train/: 1 left out, hidden or of an operating system (bee/.DS_Store)") in found
    (pictures / "folder" / "train" / "bee" / "more.heic").write_bytes(b"")
    assert attention() == ["train/: 1 left out, an ending that is not read: .heic 1 (bee/more.heic)"]


OWN_TASK = """\
from dataclasses import dataclass

REVISION = 1
SMOKE = {}


@dataclass(frozen=True)
class Config:
    size: int = 1


def run(config, context):
    return {"metrics": {"best": {"top1": 1.0}}}


def inspect(config):
    raise KeyError(config.size)
"""
OWN_STUDY = """\
study: own
title: Of its own
task: own.py
metrics: {top1: {from: best, direction: max}}
seeds: [0]
axes: {size: {key: size, values: [1, 2], baseline: 1}}
"""


def test_a_check_that_fails_is_a_finding(pictures: Path) -> None:
    (pictures / "studies" / "own.py").write_text(OWN_TASK)
    (pictures / "studies" / "own.yaml").write_text(OWN_STUDY)
    shown = CliRunner().invoke(cli, ["doctor", "--json", "--data", "own"], standalone_mode=False)
    assert shown.exception is None, shown.exception
    found = [f["text"] for f in json.loads(shown.output) if f["level"] == "attention"]
    assert (shown.return_value, found) == (1, ["the check of own.py fails: KeyError: 1"])
