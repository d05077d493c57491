"""Files given as weights: whatever training codes save is read, everything else is named with what to do."""

import argparse
import gzip
import json
import os

import pytest
import timm
import torch
from safetensors.torch import save_file

from dynvit.checkpoint.load import InitSpec, load_initial_weights
from dynvit.checkpoint.read import InitError, MissingWeights, read_state_dict
from dynvit.config.data import Data
from dynvit.context import NullContext
from dynvit.data.paths import find_root

OPTIONS = {"img_size": 16, "embed_dim": 12, "depth": 2, "num_heads": 2, "patch_size": 4, "num_classes": 10}


def model(seed=1):
    torch.manual_seed(seed)
    return timm.create_model("deit_tiny_patch16_224", **OPTIONS)


WEIGHTS, OTHER = model().state_dict(), model(2).state_dict()


def prefixed(prefix, state=WEIGHTS):
    return {prefix + name: tensor for name, tensor in state.items()}


SAVED = {
    "plain": WEIGHTS,
    "timm": {"state_dict": WEIGHTS, "args": argparse.Namespace(lr=1), "epoch": 3, "optimizer": {"state": {}}},
    "deit": {"model": WEIGHTS, "args": argparse.Namespace(), "model_ema": OTHER, "scaler": {}},
    "average only": {"model_ema": WEIGHTS},
    "our checkpoint": {"schema": 1, "model": WEIGHTS, "average": OTHER, "progress": {"epoch": 1}},
    "data parallel": {"state_dict": prefixed("module.")},
    "compiled": prefixed("_orig_mod."),
    "both": prefixed("module._orig_mod."),
    "lightning": {"state_dict": {**prefixed("model."), "criterion.weight": torch.ones(10)}, "loops": {}},
    "lightning with an average": {"state_dict": {**prefixed("model."), **prefixed("model_ema.module.", OTHER)}},
    "averaged model of torch": {**prefixed("module."), "n_averaged": torch.tensor(3)},
    "below a classifier": {k if k.startswith("head.") else f"backbone.{k}": t for k, t in WEIGHTS.items()},
    "nested": {"model": {"state_dict": WEIGHTS}},
}


@pytest.mark.parametrize("name", SAVED)
def test_what_training_codes_save_is_read(name, tmp_path):
    torch.save(SAVED[name], tmp_path / "weights.pth")
    fresh = model(5)
    context = NullContext()
    load_initial_weights(
        fresh, InitSpec.parse(str(tmp_path / "weights.pth")), "deit_tiny_patch16_224", context.log_text
    )
    assert all(torch.equal(tensor, WEIGHTS[key]) for key, tensor in fresh.state_dict().items())


@pytest.mark.parametrize("name", ["deit", "our checkpoint", "lightning with an average"])
def test_the_average_where_it_is_asked_for(name, tmp_path):
    torch.save(SAVED[name], tmp_path / "weights.pth")
    found = read_state_dict(tmp_path / "weights.pth", prefer_ema=True)
    assert all(torch.equal(found[key], tensor) for key, tensor in OTHER.items())


def test_the_content_decides_not_the_ending(tmp_path):
    save_file(WEIGHTS, tmp_path / "weights.pth")
    torch.save(WEIGHTS, tmp_path / "weights.safetensors")
    for name in ("weights.pth", "weights.safetensors"):
        assert read_state_dict(tmp_path / name).keys() == WEIGHTS.keys()


def test_names_that_the_model_has_are_never_stripped(tmp_path):
    """A user's own model may keep its layers in an attribute `model`."""
    torch.save(prefixed("model."), tmp_path / "own.pt")
    assert read_state_dict(tmp_path / "own.pt", known=prefixed("model.")).keys() == prefixed("model.").keys()


def pickled(value, tmp_path):
    torch.save(value, tmp_path / "there.pt")
    return (tmp_path / "there.pt").read_bytes()


GOOD = torch.ones(2)
BROKEN = {
    "empty": (lambda p: b"", "is empty"),
    "html": (lambda p: b"\n<!DOCTYPE html><html>Sign in</html>", "is a web page, not weights"),
    "lfs": (lambda p: b"version https://git-lfs.github.com/spec/v1\noid sha256:12\n", "Git LFS pointer.*git lfs pull"),
    "json": (lambda p: json.dumps({"message": "not found"}).encode(), "JSON text"),
    "gzip": (lambda p: gzip.compress(pickled(WEIGHTS, p)), "gzip: unpack it first"),
    "hdf5": (lambda p: b"\x89HDF\r\n\x1a\n" + bytes(64), "HDF5"),
    "text": (lambda p: b"accuracy 81.2\n" * 40, "no file of weights, or damaged or cut short .560 bytes"),
    "zeros": (lambda p: bytes(4096), "damaged or cut short .4096 bytes"),
    "cut pickle": (lambda p: pickled(WEIGHTS, p)[:-700], "damaged or cut short"),
    "list": (lambda p: pickled([GOOD], p), "holds a list, not tensors by name"),
    "tensor": (lambda p: pickled(GOOD, p), "holds a Tensor, not tensors by name"),
    "no tensors": (lambda p: pickled({"epoch": 1, "lr": 0.1}, p), "no tensors by name; its entries are epoch, lr"),
    "nothing": (lambda p: pickled({}, p), "its entries are none"),
    "whole model": (
        lambda p: pickled(model(), p),
        r"Python objects besides tensors.*\.state_dict\(\) of a whole model",
    ),
    "error page": (lambda p: b"404: Not Found", "no file of weights.*it begins with b'404: Not Found'"),
    "picture": (lambda p: b"\x89PNG" + bytes(64), r"no file of weights.*it begins with b'.x89PNG"),
    "sparse": (lambda p: pickled({"a": GOOD.to_sparse(), "b": GOOD}, p), "1 tensors that are sparse or without.*: a$"),
    "without values": (lambda p: pickled({"a": GOOD.to("meta")}, p), "1 tensors that are sparse or without values: a"),
    "nan": (
        lambda p: pickled({"a.weight": GOOD / 0, "b": GOOD, "c": GOOD * torch.nan}, p),
        "NaN.* in 2 tensors: a.weight",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_what_is_no_weights_is_named(name, ending, tmp_path):
    content, text = BROKEN[name]
    file = tmp_path / f"weights.{ending}"
    file.write_bytes(content(tmp_path))
    with pytest.raises(InitError, match=rf"^init: .*weights\.{ending} .*{text}") as caught:
        read_state_dict(file)
    assert "\n" not in str(caught.value)


def test_safetensors_that_are_cut_short(tmp_path):
    save_file(WEIGHTS, tmp_path / "a.safetensors")
    whole = (tmp_path / "a.safetensors").read_bytes()
    for size in (9, 40, len(whole) // 2, len(whole) - 1):
        (tmp_path / "a.safetensors").write_bytes(whole[:size])
        with pytest.raises(InitError, match="damaged or cut short"):
            read_state_dict(tmp_path / "a.safetensors")


def test_places_without_a_file(tmp_path):
    with pytest.raises(MissingWeights, match=r"teacher\.checkpoint: no file"):
        read_state_dict(tmp_path / "a.pt", "teacher.checkpoint")
    os.mkfifo(tmp_path / "pipe.pt")
    with pytest.raises(MissingWeights, match="no file"):
        read_state_dict(tmp_path / "pipe.pt")


@pytest.mark.parametrize("path", ["a" * 300, "~nobody_of_that_name/a.pth", "a\0b"])
def test_a_path_that_no_file_system_takes_is_no_file(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingWeights, match="init: no file"):
        load_initial_weights(torch.nn.Linear(1, 1), InitSpec(path), "x", print)
    with pytest.raises(FileNotFoundError, match="no folder"):
        find_root(Data(name="folder", root=path))


def test_a_path_that_is_misspelt(tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/deit_tiny.pth").touch()
    for path, near in (("weights/deit_tny.pth", "weights/deit_tiny.pth"), ("wieghts/deit_tiny.pth", "weights")):
        with pytest.raises(MissingWeights, match=rf"no file {tmp_path / path}, did you mean {tmp_path / near}\?"):
            read_state_dict(tmp_path / path)
