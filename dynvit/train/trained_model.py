"""The trained model of a trial, from the files in its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from timm import is_model
from torch import nn

from dynvit import plugins
from dynvit.checkpoint.load import load_strict
from dynvit.checkpoint.read import InitError, read_state_dict
from dynvit.interface import put_to_update
from dynvit.models.build import build_reduced
from dynvit.reduction.reducer import REDUCERS

Weights = Literal["last", "best", "ema"]
MANIFEST = "own.json"
"""In a copy of own code: the folders in it where modules are found."""


def load_trial(folder: str | Path, weights: Weights = "last") -> nn.Module:
    """Return the trained model of a trial's folder, ``results/trials/<id>``, in eval mode on the CPU.

    The model is built with the trial's own options, and has its token reducer. weights: ``last``, with which the
    trial's predictions were made; ``best``, those of its best epoch; ``ema``, the moving average where the trial kept
    it beside the trained weights. Where `evaluation.weights` is ema, last and best are the average's. The trial's own
    code is loaded as by `dynvit.plugins.load`, in the version that the trial ran, whatever this process has imported of
    it; until another is loaded, `import` finds the trial's modules.

    Raises:
        ValueError: no such folder, no weights were kept, or they are damaged or of another model; the text says so.
    """
    folder = Path(folder)
    spec, config = _spec(folder)
    if weights not in get_args(Weights):
        raise InitError(f"weights are {', '.join(get_args(Weights))}, not {weights}")
    file = _file(folder, weights, config)
    _load_own_code(folder, spec)
    known = _header(file)
    model = _build(folder, config, known)
    _finish_schedule(model, known, config)
    try:
        load_strict(model, read_state_dict(file, str(folder.name), known=model.state_dict()))
    except InitError:
        raise
    except ValueError as error:
        raise InitError(f"{file}: {error}") from error
    return model.eval()


def _spec(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return spec.json and the config in it. Raises InitError for a folder of no trial, or of one without a model."""
    file = folder / "spec.json"
    try:
        spec = json.loads(file.read_text(encoding="utf-8"))
        config = dict(spec["config"])
    except OSError as error:
        whole = f"; the folder of a trial is results/trials/{folder}" if len(folder.parts) == 1 else ""
        raise InitError(f"{folder} is no trial's folder: spec.json cannot be read ({error.strerror}){whole}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InitError(f"{file} is damaged: it holds no trial") from error
    if not isinstance(config.get("model"), Mapping) or "train" not in config:
        raise InitError(f"trial {folder.name} is of task {spec.get('task')}, which trains no model")
    return spec, config


def _file(folder: Path, weights: Weights, config: Mapping[str, Any]) -> Path:
    file = folder / f"{weights}.safetensors"
    if file.is_file():
        return file
    kept = [name for name in get_args(Weights) if (folder / f"{name}.safetensors").is_file()]
    if kept:
        raise InitError(f"trial {folder.name} kept {' and '.join(kept)}, not {weights}: load_trial(..., {kept[0]!r})")
    if config.get("keep_checkpoint") and not (folder / "result.json").is_file():
        raise InitError(f"trial {folder.name} is not done: its weights are there when it is")
    raise InitError(
        f"trial {folder.name} kept no weights: with keep_checkpoint: true in the study's base "
        "(or --set keep_checkpoint=true) trials leave them"
    )


def _load_own_code(folder: Path, spec: Mapping[str, Any]) -> None:
    """Import the copy of own code that the trial ran, or installed plugins: a config has the names of models only."""
    copy, imports = folder.resolve().parent.parent / spec.get("own", ""), spec.get("imports", [])
    if spec.get("own") and (copy / MANIFEST).is_file():
        folders = json.loads((copy / MANIFEST).read_text(encoding="utf-8")).get("folders", [])
        entries = [str(copy / entry) if (copy / entry).is_file() else entry for entry in imports]
        plugins.load(entries, [str(copy / name) for name in folders])
    elif imports:
        raise InitError(f"trial {folder.name}: the copy of its own code, {copy}, is not there")
    elif not _is_known(spec["config"]):
        plugins.load()


def _is_known(config: Mapping[str, Any]) -> bool:
    reducer = config.get("reducer", {}).get("name")
    return is_model(str(config["model"].get("name"))) and (not reducer or reducer in REDUCERS)


def reducer_of(file: Path) -> dict[str, Any]:
    """Return the token reducer of the trial that left a file of weights; {} for none, and for other files."""
    return dict(json.loads(_metadata(file).get("config", "{}")).get("reducer", {}))


def _header(file: Path) -> dict[str, Any]:
    """Return what was written beside the tensors: epoch, and what followed from the data; {} for other files."""
    found = _metadata(file)
    return {"epoch": int(found.get("epoch", 0)), **json.loads(found.get("data", "{}"))} if found else {}


def _metadata(file: Path) -> dict[str, str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as opened:
            return opened.metadata() or {}
    except (SafetensorError, OSError):
        return {}  # the reader of the tensors says what is wrong


def _build(folder: Path, config: Mapping[str, Any], known: Mapping[str, Any]) -> nn.Module:
    sizes = {key: known[key] for key in ("num_classes", "in_chans", "img_size") if key in known}
    drop = config["train"].get("drop_path") or 0
    options = {**(sizes or _sizes_of_data(folder, config)), **({"drop_path_rate": drop} if drop else {})}
    try:
        return build_reduced(config["model"], config.get("reducer", {}), **options)
    except (TypeError, ValueError) as error:
        raise InitError(f"trial {folder.name}: its model cannot be built by this version: {error}") from error


def _sizes_of_data(folder: Path, config: Mapping[str, Any]) -> dict[str, int]:
    """Return classes, channels and side of the images from the data set itself, for weights of earlier versions."""
    from dynvit.config.data import Augment, Data
    from dynvit.data.batches import model_size
    from dynvit.data.factory import load_data

    try:
        data = Data(
            **{**config["data"], "augment": Augment(**config["data"].get("augment", {})), "normalize": "imagenet"}
        )
        return model_size(load_data(data, 1, 1, 0, "cpu"))
    except (OSError, ValueError, TypeError) as error:
        raise InitError(
            f"trial {folder.name}: its weights do not say of how many classes they are, and its data set, which would, "
            f"cannot be read: {error}"
        ) from error


def _finish_schedule(model: nn.Module, known: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Put a model whose behavior changes during a training to where it was when the weights were saved."""
    epoch, steps, epochs = known.get("epoch", 0), known.get("steps", 0), config["train"]["epochs"]
    if epoch and steps:
        put_to_update(model, epoch - 1, steps, epochs, steps)
