"""SiT, PatchMerger, Sinkhorn: the official weights, what traces show, and the size that the layers belong to."""

import parity
import pytest
import timm
import torch
from test_parity import METHODS, reduced
from timm.layers import PatchDropout

import dynvit

FIXTURES = [(method, name) for method in ("sit", "patchmerger", "sinkhorn") for name in METHODS[method].fixtures]


@pytest.mark.parametrize(("method", "name"), FIXTURES)
def test_weights_are_the_official_ones(method, name):
    fixture, seen = parity.load(name), []
    model = reduced(method, fixture)
    model.cluster_layers[0].register_forward_hook(lambda layer, args, output: seen.append(output[0]))
    with torch.no_grad():
        model(fixture.image())
    assert parity.largest_difference(seen[0], fixture.array("soft_assignment_block1")) < 1e-12


@pytest.mark.parametrize("method", ["sit", "patchmerger", "sinkhorn"])
def test_traces_show_as_many_tokens_as_there_are_and_the_largest_weights(method, small_trunk):
    model = dynvit.reduce(small_trunk, method, keep=(20, 7), locations=(1, 3)).eval()
    weights = []
    for layer in model.cluster_layers:
        layer.register_forward_hook(lambda layer, args, output: weights.append(output[0]))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad(), dynvit.trace_tokens(model) as trace:
        model(torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    assert [seen.sum(1).tolist() for seen in trace.active] == [[n] * 2 for n in (64, 20, 20, 7, 7, 7)]
    first, second = (weight.argmax(1) for weight in weights)
    assert torch.equal(model.sources.token_of_patch[:, 1:] - 1, second.gather(1, first))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("method", ["sit", "patchmerger", "sinkhorn"])
def test_another_image_size_is_refused(method, small_trunk):
    model = dynvit.reduce(small_trunk, method)
    model.set_input_size((40, 40))
    with pytest.raises(
        ValueError, match=f"{method} learnt to leave 44 tokens at block 1, .* 100 patches it would be 70"
    ):
        model(torch.randn(1, 3, 40, 40))


@pytest.mark.parametrize("method", ["sit", "patchmerger", "sinkhorn"])
def test_dropped_patches_are_refused_when_reducing(method, small_trunk):
    small_trunk.patch_drop = PatchDropout(0.25)
    with pytest.raises(ValueError, match=f"{method} learns layers for a fixed .* patch_drop_rate 0.25 .* set it to 0"):
        dynvit.reduce(small_trunk, method)
    dynvit.reduce(small_trunk, method, keep=1.0)


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "pvt_v2_b0", "levit_128s", "sret_tiny"])
def test_pyramids_are_told_why_not(name):
    with torch.device("meta"):
        model = timm.create_model(name)
    with pytest.raises(ValueError, match=r"sit takes a timm .*, not \w+: its stages halve a grid"):
        dynvit.reduce(model, "sit")


def test_layers_follow_the_model(small_trunk):
    model = dynvit.reduce(small_trunk.double().eval(), "sit")
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert not model.cluster_layers.training
