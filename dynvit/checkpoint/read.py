"""Files of weights: safetensors, pickles that hold tensors only, a trial's folder. What is no such file is named."""

from __future__ import annotations

import argparse
import difflib
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dynvit.checkpoint.report import first

TRIAL_FILES = ("last.safetensors", "best.safetensors", "ckpt/last.pt")
"""Weights in a trial's folder; the first that exists is used. Tables report the last epoch; the best one may have been
chosen on the very images that are reported."""
AVERAGES = ("state_dict_ema", "model_ema", "ema_state_dict", "ema", "average")
"""Entries of a checkpoint that hold averaged weights, by the names that training codes use."""
WEIGHTS = ("state_dict", "model", "model_state_dict", "module", "net", "network")
WRAPPERS = ("backbone.", "module.", "_orig_mod.", "model_ema.", "ema.", "model.")
"""Prefixes of a backbone below a classifier, and of data-parallel, compiled, averaged and Lightning models."""
MAGIC = (
    (b"version https://git-lfs", "a Git LFS pointer, not the weights themselves: fetch them with `git lfs pull`"),
    (b"<", "a web page, not weights: the download was answered with HTML; fetch it with the site's own client"),
    (b"{", "JSON text, not weights"),
    (b"\x1f\x8b", "compressed with gzip: unpack it first"),
    (b"\xfd7zXZ", "compressed with xz: unpack it first"),
    (b"\x89HDF", "HDF5 (Keras), which is not read: convert it to safetensors"),
    (b"GGUF", "GGUF, which is not read: convert it to safetensors"),
)
SAVED_BY_TORCH = (b"\x80", b"PK\x03\x04")
"""First bytes of a pickle, and of a zip file that holds one."""


class InitError(ValueError):
    """Initial weights that do not exist, cannot be read, or are of another model."""


class MissingWeights(InitError, FileNotFoundError):
    """A file of initial weights that does not exist."""


def read_state_dict(
    path: Path, key: str = "init", prefer_ema: bool = False, known: Collection[str] = ()
) -> dict[str, Tensor]:
    """Read tensors by parameter name. Raises InitError, which begins with `key`, an option, and names the file.

    prefer_ema: the averaged weights of a file that has both. known: the model's own names; prefixes of wrappers are
    left where no more of the names are known without them.
    """
    path = weights_file(path, key)
    try:
        found = _unwrap(_read(path), prefer_ema)
        bare = _strip(found, prefer_ema)
        ours, without = (sum(name in known for name in names) for names in (found, bare))
        return _usable(found if ours and ours >= without else bare)
    except InitError as error:
        raise InitError(f"{key}: {path} {error}") from error.__cause__


def weights_file(path: Path, key: str = "init") -> Path:
    """Return the file that is read for a path: of a trial's folder its weights. Raises InitError for none."""
    path = Path(os.path.expanduser(path))  # os.path answers where Path raises: a path too long, an unknown user
    if os.path.isdir(path):
        found = next((path / name for name in TRIAL_FILES if (path / name).is_file()), None)
        if found is None:
            names = ", ".join(TRIAL_FILES)
            raise InitError(f"{key}: {path} holds none of {names}; a trial leaves them with keep_checkpoint: true")
        return found
    if not os.path.isfile(path):
        raise MissingWeights(f"{key}: no file {path}{_nearest(path)}")
    return path


def _nearest(path: Path) -> str:
    """Return a question for the most similar name in the folder where a path ends to exist."""
    while not os.path.isdir(path.parent) and path != path.parent:
        path = path.parent
    names = os.listdir(path.parent) if os.access(path.parent, os.R_OK) else []
    near = difflib.get_close_matches(path.name, names, n=1)
    return f", did you mean {path.parent / near[0]}?" if near and not os.path.exists(path) else ""


def _read(path: Path) -> Any:
    """Return what the file holds. The content decides its format, not the ending of its name."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise InitError(f"cannot be read: {error.strerror or error}") from error
    if not head:
        raise InitError("is empty")
    for magic, kind in MAGIC:
        if head.lstrip().startswith(magic):
            raise InitError(f"is {kind}")
    try:
        if head[8:9] == b"{":
            return load_file(path)
        if not head.startswith(SAVED_BY_TORCH):
            raise ValueError(f"it begins with {head[:16]!r}, as no file of weights does")
        # an open file, since torch trusts the ending of a name; timm and DeiT save their arguments, a Namespace, beside
        with path.open("rb") as file, torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(file, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise InitError(f"is damaged or cut short ({path.stat().st_size} bytes): {error}") from error
    except Exception as error:  # many types: whatever the unpickler meets
        raise InitError(_unreadable(path, error)) from error


def _unreadable(path: Path, error: Exception) -> str:
    text = str(error)
    if "GLOBAL" in text or "Unsupported" in text:
        named = next((line.strip() for line in text.splitlines() if "GLOBAL" in line or "Unsupported" in line), "")
        return (
            f"holds Python objects besides tensors, which are not loaded because that can run code ({named[:160]}). If "
            "you trust the file, save its tensors alone: torch.save(torch.load(FILE, weights_only=False)"
            '["model"], NEW) with the entry that holds them, or .state_dict() of a whole model'
        )
    reason = next((line for line in text.splitlines() if line.strip()), type(error).__name__)[:200]
    return f"is no file of weights, or damaged or cut short ({path.stat().st_size} bytes): {reason}"


def _unwrap(found: Any, prefer_ema: bool) -> dict[str, Tensor]:
    """Return the entry of a checkpoint that holds the weights."""
    if not isinstance(found, Mapping):
        raise InitError(f"holds a {type(found).__name__}, not tensors by name")
    keys = (*AVERAGES, *WEIGHTS) if prefer_ema else (*WEIGHTS, *AVERAGES)
    inner = next((found[key] for key in keys if isinstance(found.get(key), Mapping)), None)
    if inner is not None:
        return _unwrap(inner, prefer_ema)
    tensors = {str(name): value for name, value in found.items() if isinstance(value, Tensor)}
    if not tensors:
        raise InitError(f"holds no tensors by name; its entries are {first([str(key) for key in found]) or 'none'}")
    return tensors


def _strip(tensors: dict[str, Tensor], prefer_ema: bool) -> dict[str, Tensor]:
    """Return the tensors without the prefixes of wrappers. Of several wrapped models, the trained or averaged one."""
    order = WRAPPERS if prefer_ema else tuple(reversed(WRAPPERS))
    while tensors:
        shares = {prefix: sum(name.startswith(prefix) for name in tensors) for prefix in order}
        prefix = next((prefix for prefix in order if 3 * shares[prefix] >= len(tensors)), None)
        if prefix is None:
            break
        others = tuple(each for each in WRAPPERS if each != prefix)
        tensors = {
            name.removeprefix(prefix): value
            for name, value in tensors.items()
            if name.startswith(prefix) or not name.startswith(others)
        }
    return tensors


def _usable(state: dict[str, Tensor]) -> dict[str, Tensor]:
    odd = [name for name, value in state.items() if value.layout != torch.strided or value.is_meta]
    if odd:
        raise InitError(f"has {len(odd)} tensors that are sparse or without values: {first(odd)}")
    bad = [name for name, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    if bad:
        raise InitError(f"has values that are not finite (NaN or infinity) in {len(bad)} tensors: {first(bad)}")
    return state
