"""`dynvit.load_trial`: the model that a trial's predictions were made with, or a sentence that says why not."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_task import Folder, config

import dynvit
from dynvit.checkpoint.read import InitError
from dynvit.config.classify import Config
from dynvit.config.evaluation import Evaluation
from dynvit.data.factory import load_data
from dynvit.tasks.classify import run

DEIT = {"patch_size": 2, "embed_dim": 16, "depth": 3, "num_heads": 2}
MODELS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "timm": ({"name": "vit_tiny_patch16_224", **DEIT}, {}),
    "schedule": (  # still on its way to 0.5 when the training ends
        {"name": "evit_deit_tiny_patch16_224", **DEIT, "locations": [1], "keep_rate": 0.5, "shrink_start": 0,
         "shrink_epochs": 9}, {},
    ),
    "options": ({"name": "tpc_deit_tiny_patch16_224", **DEIT, "stabilizer": "off", "pause": False}, {}),
    "reducer": ({"name": "vit_tiny_patch16_224", **DEIT}, {"name": "tome", "r": 3}),
}  # fmt: skip


class Keeping(Folder):
    """A context that keeps files, as the engine's does."""

    def save_artifact(self, name: str, data: bytes) -> None:
        (self.folder / name).write_bytes(data)


def trial(folder: Path, options: Config) -> Path:
    """Run a trial, and leave its spec as the engine does."""
    folder.mkdir(exist_ok=True)
    spec = {"task": "classify", "config": asdict(options), "seed": 0}
    (folder / "spec.json").write_text(json.dumps(spec))
    (folder / "result.json").write_text(json.dumps(run(options, Keeping(folder))))
    return folder


def kept(model: str = "timm", **changes: Any) -> Config:
    """Trained for two epochs on digits, the weights kept."""
    options, reducer = MODELS[model]
    made = config(epochs=2, **changes.pop("train", {}))
    return replace(made, model=options, reducer=reducer or {"name": ""}, keep_checkpoint=True, **changes)


def predicted(model: torch.nn.Module, options: Config) -> np.ndarray:
    data = load_data(options.data, 8, options.evaluation.batch_size, 0, "cpu")
    with torch.no_grad():
        return torch.cat([model(x).argmax(1) for x, _ in data.validation()]).numpy()


def predictions(folder: Path) -> np.ndarray:
    with np.load(io.BytesIO((folder / "predictions.npz").read_bytes())) as found:
        return found["prediction"]


@pytest.mark.parametrize("model", MODELS)
def test_predicts_what_the_trial_predicted(model: str, tmp_path: Path) -> None:
    options = kept(model)
    folder = trial(tmp_path / "t", options)
    loaded = dynvit.load_trial(folder)
    assert not loaded.training
    assert (predicted(loaded, options) == predictions(folder)).all()
    weights = load_file(folder / "last.safetensors")
    assert all(torch.equal(tensor, weights[name]) for name, tensor in loaded.state_dict().items())


def test_a_schedule_goes_on_where_it_was(tmp_path: Path) -> None:
    loaded = dynvit.load_trial(trial(tmp_path / "t", kept("schedule")))
    assert 0.5 < loaded.keep_rates[1] < 1


def test_the_average_where_it_was_evaluated(tmp_path: Path) -> None:
    ema = {"ema": 0.5}
    options = kept(train=ema, evaluation=Evaluation(weights="ema", batch_size=64))
    folder = trial(tmp_path / "t", options)
    assert (predicted(dynvit.load_trial(folder), options) == predictions(folder)).all()
    beside = trial(tmp_path / "u", kept(train=ema))
    trained, average = (dynvit.load_trial(beside, each).state_dict() for each in ("last", "ema"))
    assert not torch.equal(trained["head.weight"], average["head.weight"])


def test_weights_of_an_earlier_version_take_their_sizes_from_the_data(tmp_path: Path) -> None:
    options = kept()
    folder = trial(tmp_path / "t", options)
    save_file(load_file(folder / "last.safetensors"), folder / "last.safetensors", metadata={"epoch": "2"})
    assert (predicted(dynvit.load_trial(folder), options) == predictions(folder)).all()


def test_other_weights_of_the_trial(tmp_path: Path) -> None:
    folder = trial(tmp_path / "t", kept())
    best = load_file(folder / "best.safetensors")
    assert torch.equal(dynvit.load_trial(folder, "best").state_dict()["head.weight"], best["head.weight"])
    with pytest.raises(ValueError, match="trial t kept last and best, not ema"):
        dynvit.load_trial(folder, "ema")
    with pytest.raises(ValueError, match="weights are last, best, ema, not frist"):
        dynvit.load_trial(folder, "frist")  # type: ignore[arg-type]


def test_refusals_are_sentences(tmp_path: Path) -> None:
    folder = trial(tmp_path / "t", kept())
    weights = (folder / "last.safetensors").read_bytes()

    def refusal() -> str:
        with pytest.raises(InitError) as error:
            dynvit.load_trial(folder)
        return str(error.value)

    (folder / "last.safetensors").write_bytes(weights[:-100])
    assert "last.safetensors is damaged or cut short" in refusal()
    (folder / "last.safetensors").write_bytes(weights)
    spec = json.loads((folder / "spec.json").read_text())
    deeper = {**spec, "config": {**spec["config"], "model": {**spec["config"]["model"], "depth": 4}}}
    (folder / "spec.json").write_text(json.dumps(deeper))
    assert "does not fit VisionTransformer; missing: blocks.3" in refusal()
    unknown = {**spec, "config": {**spec["config"], "model": {"name": "vit_tinny_patch16_224"}}}
    (folder / "spec.json").write_text(json.dumps(unknown))
    assert "did you mean 'vit_tiny_patch16_224'" in refusal()
    (folder / "spec.json").write_text(json.dumps({**spec, "task": "cost", "config": {"models": []}}))
    assert "is of task cost, which trains no model" in refusal()
    (folder / "spec.json").write_text("{")
    assert "spec.json is damaged" in refusal()
    (folder / "spec.json").unlink()
    assert "is no trial's folder" in refusal()
    with pytest.raises(InitError, match=r"no trial's folder.*; the folder of a trial is results/trials/0a1b2c"):
        dynvit.load_trial("0a1b2c")
    (folder / "spec.json").write_text(json.dumps(spec))
    for name in ("last", "best"):
        (folder / f"{name}.safetensors").unlink()
    assert "kept no weights: with keep_checkpoint: true" in refusal()
    (folder / "result.json").unlink()
    assert "is not done" in refusal()
