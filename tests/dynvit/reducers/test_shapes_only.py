"""What is counted on the meta device without the kernels that change no shape is what a run on the CPU counts."""

import pytest
import timm
import torch
import torch.nn.functional as F

import dynvit
from dynvit.reduction.shapes_only import ShapesOnly

SIZE = {"img_size": 32, "patch_size": 4, "embed_dim": 32, "depth": 4, "num_heads": 2, "num_classes": 10}
ODD = {"class_token": False, "global_pool": "avg", "qkv_bias": False, "init_values": 0.1, "qk_norm": True}


@pytest.mark.parametrize("method", dynvit.list_reducers())
def test_the_count_is_that_of_a_run(method):
    options = ODD
    if method in ("ats", "diffrate", "evit", "tps", "topk", "kmedoids"):
        options = {**ODD, "class_token": True, "global_pool": "token"}  # these rank by the class token
    counts = []
    for device in ("cpu", "meta"):
        with torch.device(device):
            model = dynvit.reduce(timm.create_model("vit_tiny_patch16_224", **SIZE, **options).eval(), method)
            image = torch.zeros(1, 3, 32, 32)
        if device == "meta":
            with ShapesOnly():
                assert model(image).shape == (1, 10)
                counts.append(dynvit.complexity(model, image))
        else:
            counts.append(dynvit.complexity(model, image))
    assert counts[0].gmacs > 0 and counts[0].gmacs == counts[1].gmacs


def test_values_are_left_alone():
    x = torch.randn(2, 3, 4)
    with ShapesOnly():
        found = F.layer_norm(x, (4,)), F.linear(x, torch.ones(5, 4), torch.ones(5)), x.softmax(-1)
    expected = F.layer_norm(x, (4,)), F.linear(x, torch.ones(5, 4), torch.ones(5)), x.softmax(-1)
    assert all(map(torch.equal, found, expected))


def test_the_result_lies_in_memory_as_that_of_the_kernel():
    x = torch.empty(1, 2, 5, 6, device="meta").transpose(-1, -2)
    with ShapesOnly():
        assert x.softmax(-1).view(2, 30).shape == (2, 30)


def test_a_cast_is_kept():
    with ShapesOnly():
        assert torch.empty(2, 3, device="meta").softmax(-1, torch.float64).dtype == torch.float64
