import pytest
import timm
import torch


@pytest.fixture
def small_trunk():
    """64 patches of 32 pixels, six blocks."""
    torch.manual_seed(0)
    sizes = {"img_size": 32, "patch_size": 4, "embed_dim": 24, "num_heads": 2, "depth": 6, "num_classes": 3}
    return timm.create_model("vit_tiny_patch16_224", **sizes)
