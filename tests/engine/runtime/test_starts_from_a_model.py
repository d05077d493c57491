"""Real models: a method that starts from its backbone's trial, and one that is taught by a trial."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from dynvit.checkpoint.read import TRIAL_FILES
from studies.engine.core.stop import StopRequest
from studies.engine.planning.plan import make_plan
from studies.engine.runtime.worker import run_attempt
from studies.engine.storage import kept_weights
from studies.engine.storage.results_dir import Store
from studies.engine.storage.trial_folder import TrialFolder
from studies.engine.study import parser

STUDY = """\
study: real
task: classify
seeds: [0]
base:
  data: {name: digits, image_size: 16, limit: 64, val_limit: 20}
  train: {epochs: 1, warmup_epochs: 0}
  evaluation: {traced_images: 8, counted_images: 2, timed_batch_size: 4, timed_batches: 1}
parts:
  models:
    base: {model: {name: deit_tiny_patch16_224, patch_size: 4, embed_dim: 24, depth: 3, num_heads: 2}}
  methods:
    base:
      model: {name: evit_deit_tiny_patch16_224, patch_size: 4, embed_dim: 24, depth: 3, num_heads: 2, locations: [1]}
    axes:
      from:
        baseline: init
        values:
          init: {init: {part: models}}
          teacher: {recipe: sret, teacher: {checkpoint: {part: models}}, train.batch_size: 32}
"""
EVALUATED = """\
  evaluated:
    base:
      model: {name: deit_tiny_patch16_224, patch_size: 4, embed_dim: 24, depth: 3, num_heads: 2}
      train: {epochs: 0}
      init: {part: models}
"""


def test_the_engine_and_the_models_look_for_the_same_files(tmp_path: Path) -> None:
    assert TrialFolder(tmp_path).weights_files == tuple(tmp_path / name for name in TRIAL_FILES)


def test_a_method_starts_from_its_backbone_and_is_taught_by_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file, store = tmp_path / "real.yaml", Store(tmp_path)
    file.write_text(STUDY)
    found = make_plan(parser.load(file), store)
    first, started, taught = found.trials
    assert [len(stage) for stage in found.stages] == [1, 2]
    assert taught.config["teacher"]["model"] == first.config["model"]  # instead of the recipe's
    for trial in found.to_run:
        folder = store.trial(trial.folder_id)
        folder.create(trial.spec())
        if not trial.starts:
            kept_weights.request(folder)
        assert run_attempt(folder, StopRequest()) == "done", folder.state().reason
    path = store.trial(first.id).path / "last.safetensors"
    assert capfd.readouterr().out.count(f"init {path}: loaded 44 tensors; kept at initialisation: none") == 1
    assert first.config["keep_checkpoint"] is False
    assert not (store.trial(started.id).path / "last.safetensors").exists()
    for trial in (started, taught):
        result = store.trial(trial.id).result() or {}
        assert result["started_from"] == {first.id: (store.trial(first.id).result() or {})["kept_weights"]}


def test_an_evaluation_of_a_trial_has_the_accuracy_that_tables_report(tmp_path: Path) -> None:
    """That of the last epoch: the best one may have been chosen on the images that are reported."""
    file, store = tmp_path / "real.yaml", Store(tmp_path)
    head, _ = STUDY.split("  methods:")
    file.write_text(head.replace("epochs: 1", "epochs: 3") + EVALUATED)
    first, evaluated = make_plan(parser.load(file), store).trials
    folders = [store.trial(trial.folder_id) for trial in (first, evaluated)]
    for trial, folder in zip((first, evaluated), folders, strict=True):
        folder.create(trial.spec())
    kept_weights.request(folders[0])
    assert run_attempt(folders[0], StopRequest()) == "done", folders[0].state().reason
    weights = load_file(folders[0].path / "best.safetensors")
    save_file({name: 0 * tensor for name, tensor in weights.items()}, folders[0].path / "best.safetensors")
    assert run_attempt(folders[1], StopRequest()) == "done", folders[1].state().reason
    reported, found = ((folder.result() or {})["metrics"]["last"] for folder in folders)
    assert found["loss"] == pytest.approx(reported["loss"], rel=1e-6) and found["top1"] == reported["top1"]


def test_weights_that_a_result_names_are_taken(tmp_path: Path) -> None:
    """As results of earlier versions name the best ones."""
    folder = Store(tmp_path).trial("0123456789ab")
    folder.path.mkdir(parents=True)
    assert kept_weights.find(folder) is None
    for name in ("best", "last"):
        (folder.path / f"{name}.safetensors").write_bytes(b"")
    assert kept_weights.find(folder) == folder.path / "last.safetensors"
    folder.set_result({"metrics": {}, "kept_weights": {"file": "best.safetensors", "sha256": ""}})
    assert kept_weights.find(folder) == folder.path / "best.safetensors"
    folder.set_result({"metrics": {}, "kept_weights": {"file": "../elsewhere", "sha256": ""}})
    assert kept_weights.find(folder) == folder.path / "last.safetensors"
