"""Names and options of our models."""

import subprocess
import sys

import pytest
import timm
import torch

import dynvit
from dynvit.registry import register


class Toy(torch.nn.Module):
    """A model for tests."""

    def __init__(self, width: int = 4, num_classes: int = 10, in_chans: int = 3, img_size: int = 8):
        super().__init__()
        self.num_classes, self.in_chans, self.img_size = num_classes, in_chans, img_size
        self.head = torch.nn.Linear(in_chans * img_size**2, width * num_classes)


@pytest.fixture(scope="module", autouse=True)
def registered():
    from timm.models import _registry

    register(Toy, {"toy_small": {"width": 2}, "toy_large": {"width": 8}})
    yield
    from dynvit import registry

    for name in ("toy_small", "toy_large"):
        registry.MODELS.pop(name)
        _registry._model_entrypoints.pop(name)


def test_variants_and_options():
    assert timm.create_model("toy_small").head.out_features == 20
    assert timm.create_model("toy_large", num_classes=3).head.out_features == 24
    assert timm.create_model("toy_large", width=1, img_size=4).head.weight.shape == (10, 48)


def test_default_cfg_says_what_the_model_takes():
    model = timm.create_model("toy_small", img_size=16, in_chans=1, num_classes=7)
    assert model.default_cfg["input_size"] == (1, 16, 16)
    assert model.default_cfg["num_classes"] == 7
    assert model.pretrained_cfg is model.default_cfg


def test_unknown_option_names_the_nearest():
    with pytest.raises(TypeError, match=r"toy_small has no option 'widht' \(did you mean 'width'\?\)"):
        timm.create_model("toy_small", widht=3)


def test_nothing_to_download():
    with pytest.raises(ValueError, match="no published weights"):
        timm.create_model("toy_small", pretrained=True)


def test_list_models():
    names = dynvit.list_models()
    assert names == sorted(names)
    assert {"toy_small", "toy_large"} <= set(names)
    assert dynvit.list_models("test_registry") == ["toy_large", "toy_small"]
    assert dynvit.list_models("no_such_method") == []


def test_importing_replaces_no_model_of_timm():
    """None of our names exists in timm."""
    code = """
import timm
before = {name: timm.model_entrypoint(name) for name in timm.list_models()}
import dynvit
assert dynvit.list_models(), "nothing registered"
clash = [n for n, f in before.items() if timm.model_entrypoint(n) is not f]
assert not clash, clash
assert set(dynvit.list_models()) == set(timm.list_models()) - set(before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
