"""Routers and predictors of a model in half precision decide at float32."""

import copy

import pytest
import torch

from dynvit.layers.full_precision import run_at_full_precision
from dynvit.reducers.tps import HalvedPredictor


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_weights_are_widened_for_a_decision(half):
    torch.manual_seed(0)
    for net in (HalvedPredictor(16, eps=1e-5).to(half), torch.nn.Linear(16, 1, dtype=half)):
        x = torch.randn(2, 50, 16, dtype=half, requires_grad=True)
        found = run_at_full_precision(net, x)
        wide = copy.deepcopy(net).float()
        assert found.dtype is torch.float32 and torch.equal(found, wide(x.float()))
        assert all(p.dtype is half for p in net.parameters())
        found.sum().backward()
        assert all(p.grad.isfinite().all() for p in net.parameters()) and x.grad.dtype is half


@torch.no_grad()
def test_half_weights_compile_and_export():
    torch.manual_seed(0)

    class Deciding(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = HalvedPredictor(16, eps=1e-5).bfloat16()

        def forward(self, x):
            return run_at_full_precision(self.net, x)

    model, x = Deciding(), torch.randn(2, 50, 16, dtype=torch.bfloat16)
    torch._dynamo.reset()
    assert torch.equal(torch.compile(model, backend="eager", fullgraph=True)(x), model(x))
    assert torch.equal(torch.export.export(model, (x,)).module()(x), model(x))
