"""Tokens by index: against torch's own gather and scatter, with gradients."""

import torch

from dynvit.layers.token_gather import gather_tokens, inverse, scatter_tokens


def example():
    draw = torch.Generator().manual_seed(0)
    index_BK = torch.stack([torch.randperm(7, generator=draw)[:4] for _ in range(3)])
    return torch.randn(3, 7, 5, generator=draw, dtype=torch.float64), index_BK


def test_gather():
    x, index = example()
    assert torch.equal(gather_tokens(x, index), x.gather(1, index[..., None].expand(-1, -1, 5)))
    assert torch.autograd.gradcheck(lambda x: gather_tokens(x, index), x.requires_grad_())


def test_scatter_leaves_its_input_alone():
    x, index = example()
    before, new = x.clone(), torch.randn(3, 4, 5, dtype=torch.float64)
    assert torch.equal(scatter_tokens(x, index, new), x.scatter(1, index[..., None].expand(-1, -1, 5), new))
    assert torch.equal(x, before)
    assert scatter_tokens(x.float(), index, new).dtype is torch.float32
    inputs = (x.requires_grad_(), new.requires_grad_())
    assert torch.autograd.gradcheck(lambda x, new: scatter_tokens(x, index, new), inputs)


def test_inverse_undoes_an_order():
    x, _ = example()
    order = torch.stack([torch.randperm(7) for _ in range(3)])
    assert torch.equal(gather_tokens(gather_tokens(x, order), inverse(order)), x)
