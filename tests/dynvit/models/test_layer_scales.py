"""Layer-wise learning rates: every parameter has the scale of its depth, what is fresh is at the top."""

from itertools import pairwise

import pytest
import timm
import torch
from dynvit_families import FAMILIES, PYRAMIDS, build, images
from timm.optim import param_groups_layer_decay
from torch.overrides import TorchFunctionMode

import dynvit

ALL = pytest.mark.parametrize("family", FAMILIES)
FRESH = ("head", "aux_head", "router", "score_predictor", "controller")
"""Beginnings of the names of classifiers, and of what decides about tokens: none of it is in a backbone's weights."""


class FirstUse(TorchFunctionMode):
    """Notes the order in which the parameters of a model are first read."""

    def __init__(self, model):
        self.names = {id(p): name for name, p in model.named_parameters()}
        self.order = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        for value in (*args, *(kwargs or {}).values()):
            name = self.names.get(id(value))
            if name is not None and name not in self.order:
                self.order.append(name)
        return function(*args, **(kwargs or {}))


def layer_ids(model):
    return timm.models.group_parameters(model, model.group_matcher(), reverse=True)


def body(names):
    return [name for name in names if not name.startswith(FRESH)]


@ALL
def test_scales_rise_with_the_depth_at_which_parameters_are_used(family):
    model = build(family).train()
    with FirstUse(model) as used:
        model(images())
    ids, order = layer_ids(model), body(used.order)
    assert len(order) > 0.8 * len(body(ids)), "a forward pass reads most parameters"
    ends = [name for name in order if name.startswith("norm")]  # of the classes and of the patches, at the end
    wrong = [(a, ids[a], b, ids[b]) for a, b in pairwise(order) if ids[a] > ids[b]]
    assert not wrong
    assert all(ids[name] >= max(ids[name] for name in order if name not in ends) for name in ends)


@ALL
def test_what_is_fresh_is_at_the_top_and_the_stem_at_the_bottom(family):
    model = build(family)
    ids = layer_ids(model)
    top = max(ids.values())
    assert set(ids) == {name for name, _ in model.named_parameters()}
    assert {ids[name] for name in ids if name.startswith(FRESH)} == {top}
    assert max(ids[name] for name in body(ids)) == top - (family != "sret")  # SReT's norm follows the pooling
    stem = [name for name in ids if name.startswith(("patch_embed", "stem.", "cls_token", "pos_embed"))]
    assert stem and {ids[name] for name in stem} == {0}
    assert len(set(ids.values())) == 2 + distinct_layers(family, model)


def distinct_layers(family, model):
    """Blocks with weights of their own, and the steps between the stages of a pyramid that are layers themselves."""
    if family.startswith("tpc_swin"):
        return 6
    if family in PYRAMIDS:
        return sum(len(stage.blocks) for stage in model.stages) + len(model.stages) - 1
    return len({id(block) for block in model.blocks})


@ALL
def test_an_optimizer_with_layer_decay(family):
    model = build(family)
    groups = param_groups_layer_decay(model, weight_decay=0.05, layer_decay=0.5)
    names, ids = {id(p): name for name, p in model.named_parameters()}, layer_ids(model)
    top = max(ids.values())
    scales = {names[id(p)]: group["lr_scale"] for group in groups for p in group["params"]}
    assert scales == {name: pytest.approx(0.5 ** (top - layer)) for name, layer in ids.items()}
    coarse = timm.models.group_parameters(model, model.group_matcher(coarse=True), reverse=True)
    assert coarse.keys() == ids.keys()


def test_a_backbone_keeps_its_scales():
    """What a method adds changes no scale of its backbone's parameters."""
    size = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "num_heads": 2}
    trunk = layer_ids(timm.create_model("deit_tiny_patch16_224", **size))
    for name in dynvit.list_models():
        if "_deit_tiny" in name:
            ids = layer_ids(timm.create_model(name, **size))
            assert {key: layer for key, layer in ids.items() if key in trunk} == trunk, name
    assert torch.tensor(list(trunk.values())).max() == 13
