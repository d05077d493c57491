"""Data sets and weights that are not here: nothing is launched where trials would look for them on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from studies.engine.cli.main import cli

STUDY = """\
study: absent
task: classify
seeds: [0, 1]
base:
  data: {{name: {name}, root: {root}, image_size: 16, classes: 2, images: 4}}
  model: {{name: deit_tiny_patch16_224, patch_size: 8, embed_dim: 12, depth: 1, num_heads: 1}}
  train: {{epochs: 1, batch_size: 2, warmup_epochs: 0}}
  evaluation: {{traced_images: 2, counted_images: 1, timed_batch_size: 2, timed_batches: 1}}
"""


def command(tmp_path: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, [*words, "--results", str(tmp_path / "results")])


def written(tmp_path: Path, name: str = "folder", more: str = "") -> str:
    file = tmp_path / "absent.yaml"
    file.write_text(STUDY.format(name=name, root=tmp_path / "set") + more)
    return str(file)


def images(tmp_path: Path) -> None:
    for number, name in enumerate(("train/ant", "train/bee", "val/ant", "val/bee")):
        folder = tmp_path / "set" / name
        folder.mkdir(parents=True)
        for copy in range(2):
            Image.new("RGB", (16, 16), (40 * number, 100 * copy, 7)).save(folder / f"{copy}.png")


@pytest.mark.parametrize("on", ["inline", "local", "ray"])
@pytest.mark.parametrize(("name", "told"), [
    ("folder", "must hold train/ and val/ (or test/), a folder per class in each; it has "),
    ("tar", "must hold train.tar and val.tar"),
    ("wds", "must hold shards with train and with val"),
])  # fmt: skip
def test_nothing_is_launched(name: str, told: str, on: str, tmp_path: Path) -> None:
    """Neither where the folder is not there nor where it holds something else, as after it was unpacked elsewhere."""
    file = written(tmp_path, name)
    for text in (f"no folder {tmp_path}/set for the data set {name}", f"{tmp_path}/set {told}"):
        done = command(tmp_path, "run", file, "--on", on)
        assert done.exit_code == 2, done.output
        assert done.output.startswith("nothing is launched, as every such trial would fail:\n"), done.output
        assert text in done.output and done.output.count("it must be where the trials run") == 1
        assert "absent.yaml:5:" in done.output and "[absent baseline]" in done.output
        assert not (tmp_path / "results" / "trials").exists()
        (tmp_path / "set" / "pictures").mkdir(parents=True, exist_ok=True)


def test_on_a_cluster_it_is_for_the_nodes_to_have(tmp_path: Path) -> None:
    done = command(tmp_path, "run", written(tmp_path), "--address", "127.0.0.1:1")
    assert done.exit_code == 2 and "nothing is launched" not in done.output, done.output


def test_elsewhere_it_is_a_warning(tmp_path: Path) -> None:
    plan = command(tmp_path, "plan", written(tmp_path), "--on", "slurm")
    assert plan.exit_code == 0 and f"warning   data.root: no folder {tmp_path}/set" in plan.output, plan.output


def test_what_comes_and_goes_is_seen(tmp_path: Path) -> None:
    file = written(tmp_path)
    (tmp_path / "set").mkdir()
    assert "must hold train/" in command(tmp_path, "plan", file).output
    images(tmp_path)
    assert "must hold" not in command(tmp_path, "plan", file).output
    (tmp_path / "set" / "val").rename(tmp_path / "set" / "valuable")
    assert "must hold train/" in command(tmp_path, "plan", file).output


def test_trials_that_are_done_need_no_data(tmp_path: Path) -> None:
    images(tmp_path)
    file = written(tmp_path)
    assert command(tmp_path, "run", file, "--on", "inline").exit_code == 0
    (tmp_path / "set").rename(tmp_path / "gone")
    again = command(tmp_path, "run", file, "--on", "inline")
    assert again.exit_code == 0, again.output
    more = command(tmp_path, "run", file, "--on", "inline", "--seeds", "0,1,2")
    assert more.exit_code == 2 and "nothing is launched" in more.output


def test_weights_and_the_first_of_two_data_sets(tmp_path: Path) -> None:
    images(tmp_path)
    source = f"  source: {{epochs: 1, data: {{name: folder, root: {tmp_path}/first, classes: 2, images: 9}}}}\n"
    done = command(tmp_path, "run", written(tmp_path, more=source), "--on", "inline")
    assert done.exit_code == 2 and f"no folder {tmp_path}/first" in done.output, done.output
    teacher = f"  teacher: {{model: {{name: deit_tiny_patch16_224}}, checkpoint: {tmp_path}/none.pth}}\n"
    done = command(tmp_path, "run", written(tmp_path, more=teacher), "--on", "inline")
    assert done.exit_code == 2 and f"{tmp_path}/none.pth" in done.output, done.output
