"""The rate for a cost: as near as the method's counts allow, and a sentence where there is none."""

import pytest
import timm
import torch
from small_deit import SIZE, images

import dynvit
from dynvit.config.extensions import VERSION
from dynvit.models.build import build_reduced
from dynvit.reduction import target_cost

NEXT = {"keep": 1e-3, "ratio": 1e-3, "r": 1}
METHODS = {"topk": "keep", "evit": "keep", "diffrate": "keep", "pitome": "ratio", "tome": "r", "uniform": "keep"}


def trunk():
    return timm.create_model("vit_tiny_patch16_224", **(SIZE | {"depth": 4})).double().eval()


def cost(model):
    return dynvit.complexity(model, images(1)).gmacs


@pytest.mark.parametrize("method", METHODS)
def test_no_neighbouring_rate_is_nearer(method):
    model, name = trunk(), METHODS[method]
    target = 0.6 * cost(model)
    reduced = dynvit.reduce(model, method, target_gmacs=target)
    rate, off = getattr(reduced.reducer, name), abs(cost(reduced) - target)
    assert off < 0.05 * target
    for other in (rate - NEXT[name], rate + NEXT[name]):
        assert off <= abs(cost(dynvit.reduce(model, method, **{name: other})) - target) + 1e-12


def test_a_method_that_decides_per_image_is_counted_at_its_most():
    model = trunk()
    target = 0.7 * cost(model)
    assert cost(dynvit.reduce(model, "ats", target_gmacs=target)) <= 1.05 * target


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target_gmacs": 9.0}, r"topk with keep costs .* GMACs on this model, target_gmacs 9 is out of reach"),
        ({"target_gmacs": 1e-6}, "out of reach"),
        ({"target_gmacs": 0.01, "keep": 0.5}, "target_gmacs chooses keep; give one of the two"),
    ],
)
def test_what_cannot_be_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        dynvit.reduce(trunk(), "topk", **options)


def test_the_model_is_left_alone():
    model = trunk()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    dynvit.reduce(model, "topk", target_gmacs=0.6 * cost(model))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_models_of_one_description_share_a_search(monkeypatch):
    """As the seeds of a study do; an own method that was registered again is searched anew."""
    searched = []

    def counting(*arguments):
        searched.append(arguments)
        return target_cost.options_at(*arguments)

    monkeypatch.setattr("dynvit.reduction.reduce.options_at", counting)
    model = {"name": "vit_tiny_patch16_224", **SIZE, "depth": 4}
    whole = dynvit.complexity(build_reduced(model, {}), images(1).float()).gmacs
    reducer = {"name": "pitome", "target_gmacs": 0.7 * whole}
    first, again = (build_reduced(model, reducer) for _ in range(2))
    assert again.plan(64) == first.plan(64) and again.reducer == first.reducer
    assert len(searched) == 1
    build_reduced(model, {**reducer, "margin": 0.5})
    build_reduced({**model, "depth": 3}, {**reducer, "target_gmacs": 0.5 * whole})
    assert len(searched) == 3
    monkeypatch.setattr(VERSION, "number", VERSION.number + 1)
    build_reduced(model, reducer)
    assert len(searched) == 4
