"""The predictions that a classification trial leaves: the final weights', in order, the same after a resume."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from small_task import Folder, config, register

from dynvit.context import Stopped
from dynvit.data.factory import load_data
from dynvit.tasks.classify import run

register()


class Keeping(Folder):
    """A context that keeps files, as the engine's does."""

    def save_artifact(self, name: str, data: bytes) -> None:
        (self.folder / name).write_bytes(data)


def kept(folder: Path) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO((folder / "predictions.npz").read_bytes())) as found:
        return dict(found)


def test_the_final_weights_answers_in_order(tmp_path: Path) -> None:
    options = config(epochs=2)
    result = run(options, Keeping(tmp_path))
    found = kept(tmp_path)
    assert found["prediction"].dtype == found["target"].dtype == np.uint8
    hits = 100 * (found["prediction"] == found["target"]).mean()
    assert hits == pytest.approx(result["metrics"]["last"]["top1"])
    data = load_data(options.data, 8, options.evaluation.batch_size, 0, "cpu")
    assert (found["target"] == torch.cat([target for _, target in data.validation()]).numpy()).all()


def test_the_same_bytes_after_a_stop(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    run(config(epochs=2), Keeping(whole))
    with pytest.raises(Stopped):
        run(config(epochs=2), Keeping(parts, stop_at=3))
    assert not (parts / "predictions.npz").exists()
    run(config(epochs=2), Keeping(parts))
    assert (whole / "predictions.npz").read_bytes() == (parts / "predictions.npz").read_bytes()
