"""Building on the meta device skips what fills weights; on the CPU nothing is skipped."""

import timm
import torch
from torch import nn

from dynvit.describe.skip_init import SkipInit


def test_nothing_is_computed_for_weights_on_the_meta_device(monkeypatch):
    def never(*_):
        raise AssertionError("an initialization began")

    monkeypatch.setattr(nn.init, "_calculate_correct_fan", never)
    monkeypatch.setattr(nn.init, "_no_grad_normal_", never)
    with torch.device("meta"), SkipInit():
        model = nn.Sequential(nn.Linear(2, 3), nn.Embedding(4, 5))
        nn.init.normal_(model[0].weight)
        nn.init.constant_(tensor=model[0].bias, val=1.0)
    assert all(weight.is_meta for weight in model.parameters())


def test_on_the_cpu_weights_are_as_without():
    def build():
        torch.manual_seed(0)
        return timm.create_model("deit_tiny_patch16_224", embed_dim=12, depth=1, num_heads=3).state_dict()

    plain = build()
    with torch.device("cpu"), SkipInit():
        skipped = build()
    assert all(torch.equal(plain[key], skipped[key]) for key in plain)
