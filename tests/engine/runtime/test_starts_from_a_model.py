"""Real models: a method that starts from its backbone's trial, and one that is taught by a trial."""

from __future__ import annotations

from pathlib import Path

import pytest

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
    path = store.trial(first.id).path / "best.safetensors"
    assert capfd.readouterr().out.count(f"init {path}: loaded 44 tensors; kept at initialisation: none") == 1
    assert first.config["keep_checkpoint"] is False
    assert not (store.trial(started.id).path / "best.safetensors").exists()
    for trial in (started, taught):
        result = store.trial(trial.id).result() or {}
        assert result["started_from"] == {first.id: (store.trial(first.id).result() or {})["kept_weights"]}
