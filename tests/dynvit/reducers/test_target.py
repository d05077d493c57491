"""`target_gmacs`: the rate is picked by counting, so that methods meet at equal cost."""

import pytest
import timm
import torch

import dynvit

OPTIONS = {"dpcknn": {"equal_weight": True}}


@pytest.fixture(scope="module")
def trunk():
    torch.manual_seed(0)
    size = {"img_size": 32, "patch_size": 4, "embed_dim": 32, "depth": 4, "num_heads": 2, "num_classes": 10}
    return timm.create_model("deit_tiny_patch16_224", **size).eval()


@pytest.fixture(scope="module")
def image():
    return torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("method", dynvit.list_reducers())
def test_every_method_is_brought_near_the_target(trunk, image, method):
    whole = dynvit.complexity(trunk, image).gmacs
    for share in (0.8, 0.6):
        reduced = dynvit.reduce(trunk, method, target_gmacs=share * whole, **OPTIONS.get(method, {}))
        assert dynvit.complexity(reduced, image).gmacs / whole == pytest.approx(share, abs=0.03)


def test_no_rate_is_nearer(trunk, image):
    target = 0.7 * dynvit.complexity(trunk, image).gmacs
    costs = [dynvit.complexity(dynvit.reduce(trunk, "tome", r=r), image).gmacs for r in range(33)]
    found = dynvit.complexity(dynvit.reduce(trunk, "tome", target_gmacs=target), image).gmacs
    assert found == min(costs, key=lambda cost: abs(cost - target))


def test_the_target_on_the_meta_device_is_that_on_the_cpu(trunk):
    with torch.device("meta"):
        size = {"img_size": 32, "patch_size": 4, "embed_dim": 32, "depth": 4, "num_heads": 2, "num_classes": 10}
        meta = timm.create_model("deit_tiny_patch16_224", **size).eval()
    plans = [dynvit.reduce(model, "topk", target_gmacs=0.003).plan(64) for model in (trunk, meta)]
    assert plans[0] == plans[1] != dynvit.reduce(trunk, "topk").plan(64)


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        (1.0, {}, "topk with keep costs .* target_gmacs 1 is out of reach"),
        (1e-6, {}, "target_gmacs 1e-06 is out of reach"),
        (0.003, {"keep": 0.5}, "target_gmacs chooses keep; give one of the two"),
    ],
)
def test_targets_that_cannot_be(trunk, target, options, message):
    with pytest.raises(ValueError, match=message):
        dynvit.reduce(trunk, "topk", target_gmacs=target, **options)


@pytest.mark.parametrize("target", ["3", True, [0.004]])
def test_a_target_that_is_no_number(trunk, target):
    with pytest.raises(TypeError, match="target_gmacs is a number of 1e9 multiply-accumulates, not "):
        dynvit.reduce(trunk, "topk", target_gmacs=target)


@pytest.mark.parametrize("method", [None, 3, ["tome"]])
def test_a_method_that_is_no_name(trunk, method):
    with pytest.raises(TypeError, match="method is the name of a token reducer"):
        dynvit.reduce(trunk, method)
