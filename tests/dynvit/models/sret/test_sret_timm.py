"""SReT as a citizen of timm and of torch: heads, features, groups, compile, export, mixed precision."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.models._manipulate import group_parameters
from timm.optim import create_optimizer_v2
from torch import Tensor, nn

from dynvit.models.sret.model import SReT

MINI = {"img_size": 64, "base_dim": 8, "heads": (1, 2, 4), "num_classes": 10}
FEW = (1, 2, 1)
"""Blocks of a graph that is traced, each applied twice: one after another in a stage, and every stage has one."""


def mini(**options: Any) -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model("sret_tiny", **(MINI | options)).eval()


def images(batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def test_features_and_head() -> None:
    model = mini()
    assert isinstance(model, SReT)
    features_BCHW = model.forward_features(images())
    assert features_BCHW.shape == (2, model.num_features, 2, 2)
    assert torch.equal(model.forward_head(features_BCHW), model(images()))
    pooled_BC = model.forward_head(features_BCHW, pre_logits=True)
    assert torch.equal(model.get_classifier()(pooled_BC), model(images()))
    assert model.default_cfg["input_size"] == (3, 64, 64)
    assert model.default_cfg["classifier"] == "head"
    assert dict(model.named_modules())[model.default_cfg["first_conv"]].in_channels == 3


def test_decay_and_layer_groups() -> None:
    model = mini()
    names = {name for name, _ in model.named_parameters()}
    assert "pos_embed" in model.no_weight_decay()
    assert model.no_weight_decay() < names
    fine = group_parameters(model, model.group_matcher())
    assert sorted(name for group in fine.values() for name in group) == sorted(names)
    assert len(fine) == 1 + (2 + 1 + 5 + 1 + 3) + 1
    firsts = [group[0].split(".")[:2] for group in fine.values()]
    assert firsts[3] == ["pools", "0"]
    assert firsts[-1][0] == "norm"
    assert len(group_parameters(model, model.group_matcher(coarse=True))) == 1 + 3 + 1
    optimizer = create_optimizer_v2(model, opt="adamw", lr=1e-3, weight_decay=0.05, layer_decay=0.8)
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    scalars = [p for name, p in model.named_parameters() if name.endswith(("skip", "branch"))]
    assert scalars
    assert not any(id(p) in decayed for p in [model.pos_embed, *scalars])


def test_copies_and_pickles() -> None:
    model = mini()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other(images()), model(images()))
        assert other.permuter is other.seeded


@pytest.mark.parametrize("mode", ["fused", "training", "checkpointing"], ids=lambda mode: f"no_graph_break_{mode}")
def test_compiles_whole(mode: str) -> None:
    """One graph: capture is what is tested, so no code is generated; test_timm_graphs.py has the model as it is."""
    model = mini(drop_path_rate=0.1, unique=FEW)
    model = model.fuse() if mode == "fused" else model.train(mode in ("training", "checkpointing"))
    model.set_grad_checkpointing(mode == "checkpointing")
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    if model.training:
        F.cross_entropy(compiled(images()), torch.tensor([1, 2])).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    else:
        with torch.no_grad():
            torch.testing.assert_close(compiled(images()), model(images()), atol=1e-5, rtol=0)


def test_exports_folded_with_any_batch() -> None:
    """test_timm_graphs.py exports the model as it is."""
    model = mini(unique=FEW).fuse()
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(model, (images(),), dynamic_shapes=({0: batch},))
    torch.testing.assert_close(program.module()(images(5)), model(images(5)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("options", [{}, {"learn_scales": False}, {"base_dim": 42, "heads": (3, 6, 12)}])
def test_bfloat16_autocast(options: dict[str, Any]) -> None:
    model = mini(**options)
    expected = model(images())
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        logits_BK = model(images())
    assert (logits_BK.float() - expected).abs().max() < 0.1 * expected.std() + 0.02
    model.train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = F.cross_entropy(model(images()).float(), torch.tensor([1, 2]))
    loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
