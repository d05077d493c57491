"""From a study file to a trained model: plan, run, load; the model predicts what its trial predicted."""

from __future__ import annotations

import importlib
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import own_code
import pytest
import torch

import studies
from dynvit.config.data import Data
from dynvit.data.factory import load_data

STUDY = """
study: kept
title: A model that is kept
task: classify
seeds: [0]
base:
  model: {name: vit_tiny_patch16_224, patch_size: 4, embed_dim: 16, depth: 2, num_heads: 2}
  data: {name: digits, image_size: 8, limit: 128, val_limit: 64}
  train: {epochs: 1, batch_size: 32, warmup_epochs: 0, lr: 1.0e-2}
  evaluation: {timed_batches: 2, timed_batch_size: 8, counted_images: 1}
  keep_checkpoint: true
axes:
  width: {key: model.embed_dim, values: [16, 32], baseline: 16}
metrics: {top1: {from: last, direction: max}}
"""


def test_plan_run_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlflow_database: Callable[[Path], Path]
) -> None:
    monkeypatch.chdir(tmp_path)
    mlflow_database(tmp_path / "results")
    Path("kept.yaml").write_text(STUDY)
    results = studies.plan("kept.yaml").run(on="inline")
    assert results.arms["n"].tolist() == [1, 1]
    wide = results.frame.set_index("arm").loc["width=32", "trial"]
    trial = results.trial(wide[:6])
    model = trial.load()
    assert model.embed_dim == 32 == trial.config["model"]["embed_dim"] and not model.training
    data = load_data(Data(image_size=8, limit=128, val_limit=64), 32, 64, 0, "cpu")
    with torch.no_grad():
        found = torch.cat([model(images).argmax(1) for images, _ in data.validation()]).numpy()
    with np.load(io.BytesIO((trial.folder / "predictions.npz").read_bytes())) as kept:
        assert (kept["prediction"] == found).all()

    (trial.folder / "last.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(studies.StudyError, match=r"last\.safetensors is"):
        trial.load()
    with pytest.raises(studies.StudyError, match="weights are last, best, ema, not frist"):
        trial.load("frist")


def test_a_model_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlflow_database: Callable[[Path], Path]
) -> None:
    """Another process builds it with the copy of its code that the trial ran, not with the edited file."""
    monkeypatch.chdir(tmp_path)
    mlflow_database(tmp_path / "results")
    own_code.write(tmp_path, mine=own_code.MODEL)
    model = "{name: vit_tiny_patch16_224, patch_size: 4, embed_dim: 16, depth: 2, num_heads: 2}"
    text = STUDY.replace(model, "{name: mynet_tiny, width: 16}").replace("model.embed_dim", "model.width")
    Path("kept.yaml").write_text(text.replace("task: classify", "task: classify\nimports: [mine.py]"))
    results = studies.plan("kept.yaml", only="width=32").run(on="inline")
    done = results.frame.set_index("arm").loc["width=32"]
    assert done["status"] == "done"
    Path("mine.py").write_text("raise RuntimeError('edited')")
    script = f"import studies; print(studies.open('kept').trial('{done['trial']}').load().stem.weight.shape[0])"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert loaded.stdout == "32\n", loaded.stderr


def test_an_edit_between_two_runs_of_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlflow_database: Callable[[Path], Path]
) -> None:
    """Each trial runs, and is loaded with, its own version of a module and of what that imports, though the process has
    imported another one by name."""
    monkeypatch.chdir(tmp_path)
    mlflow_database(tmp_path / "results")
    monkeypatch.syspath_prepend(str(tmp_path))
    model = own_code.MODEL.replace("class MyNet", "from sizes_of_mine import TWICE\nclass MyNet")
    own_code.write(tmp_path / "mine_too", __init__="", nets=model.replace("width, 4, 4)", "TWICE * width, 4, 4)"))
    nets = tmp_path / "mine_too" / "nets.py"
    nets.write_text(nets.read_text().replace("nn.Linear(width", "nn.Linear(TWICE * width"))
    own_code.write(tmp_path, sizes_of_mine="TWICE = 1\n")
    name = "{name: vit_tiny_patch16_224, patch_size: 4, embed_dim: 16, depth: 2, num_heads: 2}"
    text = STUDY.replace(name, "{name: mynet_tiny, width: 16}").replace("model.embed_dim", "model.width")
    Path("kept.yaml").write_text(text.replace("task: classify", "task: classify\nimports: [mine_too.nets]"))
    importlib.import_module("sizes_of_mine")
    try:
        studies.plan("kept.yaml").run(on="inline")
        own_code.write(tmp_path, sizes_of_mine="TWICE = 2\n")
        results = studies.plan("kept.yaml", only="width=32", rerun="stale").run(on="inline")
        for _ in range(2):
            loaded = {row.arm: results.trial(row.trial).load() for row in results.frame.itertuples()}
            sizes = {arm: model.stem.weight.shape[0] for arm, model in loaded.items()}
            assert sizes == {"baseline": 16, "width=32": 64}
    finally:
        del sys.modules["sizes_of_mine"]
