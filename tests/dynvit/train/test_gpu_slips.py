"""What a machine without a GPU can know of one: on tensors that only say they are on it, every model computes where its
weights are, and asks the device nothing that the host would have to wait for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)

import dynvit
from dynvit.output import Output, training_loss
from dynvit.profiling.peak_memory import reset_peak

WAITING = (DataDependentOutputException, DynamicOutputShapeException)
MODELS: dict[str, dict[str, Any]] = {
    "evit_deit_tiny_patch16_224": {},
    "tome_deit_tiny_patch16_224": {},
    "dynamicvit_deit_tiny_patch16_224": {},
    "dynamicvit_lvvit_small": {},
    "lvvit_tiny": {},
    "evo_deit_tiny_patch16_224": {},
    "evo_levit_128s": {},
    "sret_tiny": {},
    "sret_tiny_noslice": {},
    "mor_vit_tiny_patch16_224": {"routing": "expert"},
    "tpc_deit_tiny_patch16_224": {"keep_rate": 0.7},
    "tpc_lvvit_small": {"keep_rate": 0.7},
    "tpc_swin_tiny_patch4_window7_224": {"keep_rate": 0.7},
}
UNEVEN: dict[str, dict[str, Any]] = {
    "avit_deit_tiny_patch16_224": {},
    "edge_recvit_tiny_patch16_224": {},
    "mor_vit_tiny_patch16_224": {"routing": "token"},
    "tpc_deit_tiny_patch16_224": {},
}
"""Images keep numbers of tokens that only the device knows: to gather them, evaluation has to ask."""
BOTH = [(name, options) for models in (MODELS, UNEVEN) for name, options in models.items()]


@contextmanager
def elsewhere(name: str, options: dict[str, Any]) -> Iterator[tuple[nn.Module, Tensor]]:
    """The model and two images on a GPU that need not be there; what is not a parameter or a buffer stays behind."""
    model = timm.create_model(name, **options)
    with FakeTensorMode():
        for module in model.modules():
            for key, weight in module._parameters.items():
                if weight is not None:
                    module._parameters[key] = nn.Parameter(torch.empty(weight.shape, device="cuda"))
            for key, tensor in module._buffers.items():
                if tensor is not None:
                    module._buffers[key] = torch.empty(tensor.shape, dtype=tensor.dtype, device="cuda")
        yield model, torch.empty(2, 3, 224, 224, device="cuda")


def test_every_class_of_models_is_here() -> None:
    def made_of(names: list[str]) -> set[type]:
        return {type(timm.create_model(name)) for name in names}

    smallest = [n for n in dynvit.list_models() if "tiny" in n or n in ("evo_levit_128s", "dynamicvit_lvvit_small")]
    assert made_of(smallest) <= made_of([name for name, _ in BOTH])


@pytest.mark.parametrize(("name", "options"), BOTH, ids=lambda value: value if isinstance(value, str) else "")
def test_training_waits_for_nothing(name: str, options: dict[str, Any]) -> None:
    with elsewhere(name, options) as (model, x_BCHW):
        model.train()
        if hasattr(model, "set_epoch"):
            model.set_epoch(9, 10)
        found = model(x_BCHW)
        target_B = torch.zeros(len(x_BCHW), dtype=torch.long, device="cuda")
        loss = training_loss(found, target_B) if isinstance(found, Output) else found.sum()
        assert loss.device.type == "cuda"


@pytest.mark.parametrize(("name", "options"), MODELS.items(), ids=lambda value: value if isinstance(value, str) else "")
def test_evaluation_waits_for_nothing(name: str, options: dict[str, Any]) -> None:
    with elsewhere(name, options) as (model, x_BCHW), torch.no_grad():
        assert model.eval()(x_BCHW).device.type == "cuda"


@pytest.mark.parametrize(("name", "options"), UNEVEN.items(), ids=lambda value: value if isinstance(value, str) else "")
def test_uneven_numbers_of_tokens_are_asked_for_and_only_to_gather(name: str, options: dict[str, Any]) -> None:
    with elsewhere(name, options) as (model, x_BCHW), torch.no_grad():
        with pytest.raises(WAITING):
            model.eval()(x_BCHW)
        model.set_execution("masked")
        assert model(x_BCHW).device.type == "cuda"


def test_a_look_at_a_value_is_noticed() -> None:
    with FakeTensorMode(), pytest.raises(WAITING):
        bool(torch.ones(2, device="cuda").all())


def test_the_peak_is_reset_on_a_device_that_nothing_has_used_yet(monkeypatch):
    calls = []
    monkeypatch.setattr(torch.cuda, "init", lambda: calls.append("init"))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: calls.append(device))
    reset_peak("cuda:0")
    assert calls == ["init", "cuda:0"]
