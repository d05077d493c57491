"""SReT with hundreds of shared layers: parameters, gradients, memory."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynvit.models.sret.model import SReT

MINI = {"img_size": 32, "stem_strides": (1, 2, 2), "base_dim": 4, "heads": (1, 2, 4), "num_classes": 4}
GROUPS = ((8, 2), (4, 1), (1, 1))


def mini(**options: Any) -> SReT:
    torch.manual_seed(0)
    return timm.create_model("sret_tiny", **(MINI | {"groups": GROUPS} | options))


def gradients(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    torch.manual_seed(1)  # permutations and dropped paths
    F.cross_entropy(model(x), torch.arange(len(x)) % 4).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize(("recursion", "layers"), [(10, 100), (100, 1000)])
@pytest.mark.parametrize("options", [{"base_dim": 64, "nll": False}, {"base_dim": 60, "nll": "shared"}])
def test_parameters_do_not_grow_with_depth(recursion: int, layers: int, options: dict[str, Any]) -> None:
    with torch.device("meta"):
        model = timm.create_model("sret_tiny", recursion=recursion, **options)
    assert sum(stage.depth for stage in model.stages) == layers
    assert 13e6 < sum(p.numel() for p in model.parameters()) < 15e6


def test_a_thousand_layers_have_finite_gradients() -> None:
    model = mini(recursion=100, nll=False).train()
    model.set_grad_checkpointing()
    grads = gradients(model, torch.randn(2, 3, 32, 32))
    assert sum(stage.depth for stage in model.stages) == 1000
    assert all(g.isfinite().all() for g in grads.values())
    assert all(grads[f"stages.{s}.blocks.0.attention.qkv.weight"].norm() > 0 for s in range(3))


@pytest.mark.parametrize("options", [{}, {"drop_path_rate": 0.5}, {"nll": "shared"}])
def test_checkpointing_changes_no_gradient(options: dict[str, Any]) -> None:
    model, x = mini(recursion=3, **options).double().train(), torch.randn(4, 3, 32, 32).double()
    plain = gradients(model, x)
    model.zero_grad()
    model.set_grad_checkpointing()
    for name, gradient in gradients(model, x).items():
        torch.testing.assert_close(gradient, plain[name], atol=1e-12, rtol=1e-9)


def saved_bytes(model: nn.Module, x: Tensor) -> int:
    """Bytes that the forward pass keeps for the backward pass, parameters and buffers aside."""
    own = {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers()]}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = model(x)
    del out
    return sum(kept.values())


def test_memory_grows_by_one_block_input_per_application() -> None:
    x = torch.randn(8, 3, 32, 32)

    def kept(recursion: int, checkpointing: bool) -> int:
        model = mini(recursion=recursion, groups=((1,), (1,), (1,))).train()
        model.set_grad_checkpointing(checkpointing)
        return saved_bytes(model, x)

    inputs = [2 * 64 * 4, 5 * 16 * 8, 3 * 4 * 16]  # unique blocks x tokens x channels
    one_more_pass = 4 * 8 * sum(inputs)
    assert kept(5, True) - kept(4, True) <= one_more_pass
    assert kept(5, False) - kept(4, False) > 5 * one_more_pass
