"""Reducers against the numbers of the official code: logits, decisions, tokens per block, cost.

A new method needs a row in METHODS and its fixtures in tests/parity.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import parity
import pytest
import timm
import torch

import dynvit


class Row(NamedTuple):
    """fixtures: names in tests/parity. options: of `dynvit.reduce`, from the fixture's facts. exact: whether the order
    of groups is the official one, else they are compared as partitions. spared: multiply-accumulates that we do not
    need."""

    fixtures: Sequence[str]
    options: Callable[[dict[str, Any]], dict[str, Any]]
    exact: bool = True
    spared: Callable[[dict[str, Any]], int] = lambda facts: 0


def at_places(*names: str, **renamed: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """keep, locations, and what is called alike, or otherwise (ours="theirs")."""
    renamed |= {"keep": "keep", "locations": "loc", **{name: name for name in names}}
    return lambda facts: {ours: facts[theirs] for ours, theirs in renamed.items()}


def rows_spared(facts: dict[str, Any]) -> int:
    """ATS's official cost counts attention of all tokens; we leave out the rows that are not sampled."""
    into, after, width = facts["tokens_into_block"], facts["tokens_after_block"], facts["model"]["embed_dim"]
    return sum((into[i] - after[i]) * (width**2 + 2 * into[i] * width) for i in facts["model"]["loc"])


METHODS = {
    "ats": Row(["ats_mini_k0.7", "ats_mini1h_k0.85", "ats_deit_s_k0.7"], at_places(), spared=rows_spared),
    "diffrate": Row(["diffrate_mini", "diffrate_deit_s_2.9"], lambda facts: {n: facts[n] for n in ("prune", "merge")}),
    "tps": Row(["tps_mini_k0.6", "tps_deit_s_k0.7"], at_places()),
    "mctf": Row(
        ["mctf_mini_r0.35", "mctf_mini_r5_precise", "mctf_mini224_r40", "mctf_deit_s_r16"],
        lambda facts: (
            {"pooling": ("size", "attention")[facts["pooling"]]}
            | {name: facts[name] for name in ("r", "layers", "ahead")}
        ),
    ),
    "pitome": Row(
        ["pitome_mini_r0.9", "pitome_mini224_r0.9", "pitome_deit_s_r0.925"],
        lambda facts: {"ratio": facts["ratio"]},
        exact=False,
    ),
    "tofu": Row(["tofu_mini_r0.9", "tofu_deit_s_r0.925"], lambda facts: {"ratio": facts["ratio"], "norm": "rewrite"}),
    "topk": Row(["topk_mini224_k0.7"], at_places()),
    "atc": Row(
        ["atc_mini_k0.6_complete", "atc_deit_s_k0.7_average"], at_places("linkage", proportional="prop"), exact=False
    ),
    "kmedoids": Row(["kmedoids_mini_k0.6", "kmedoids_deit_s_k0.7"], at_places("equal_weight", rounds="cluster_iters")),
    "dpcknn": Row(["dpcknn_mini_k0.6", "dpcknn_deit_s_k0.7_equal"], at_places("equal_weight", neighbors="k_neighbors")),
    "sit": Row(["sit_mini_k0.6"], at_places()),
    "patchmerger": Row(["patchmerger_mini_k0.6"], at_places()),
    "sinkhorn": Row(
        ["sinkhorn_mini_k0.6", "sinkhorn_mini_k0.6_eps0.05"], at_places(rounds="cluster_iters", eps="sinkhorn_eps")
    ),
}
FIXTURES = [(method, name) for method, row in METHODS.items() for name in row.fixtures]
SIZES = ("img_size", "patch_size", "embed_dim", "depth", "num_heads", "num_classes")


def reduced(method: str, fixture: parity.Fixture, dtype: torch.dtype = torch.float64, **options: Any) -> Any:
    facts = fixture.facts["model"]
    trunk = timm.create_model("vit_tiny_patch16_224", **{key: facts[key] for key in SIZES}).to(dtype)
    model = dynvit.reduce(trunk, method, **METHODS[method].options(facts), **options).to(dtype).eval()
    return dynvit.load_official(model, fixture.state_dict(dtype))


def run(model: Any, x: torch.Tensor) -> tuple[torch.Tensor, dict[int, Any], Any]:
    """Logits, the grouping of each block that has one, and the trace."""
    groupings, block = {}, model._block

    def seen(i, *args):
        stream, grouping = block(i, *args)
        groupings.update({i: grouping} if grouping is not None else {})
        return stream, grouping

    model._block = seen
    with torch.no_grad(), dynvit.trace_tokens(model) as trace:
        logits = model(x)
    del model._block
    return logits, groupings, trace


@pytest.mark.parametrize(("method", "name"), FIXTURES)
def test_evaluation_equals_the_official_code(method, name):
    fixture = parity.load(name)
    model = reduced(method, fixture)
    logits, groupings, trace = run(model, fixture.image())
    assert parity.largest_difference(logits, fixture.array("logits_fp64")) < 1e-9
    tokens = [seen.sum(1).max().item() + 1 for seen in trace.active]
    assert tokens == fixture.facts["tokens_into_block"]
    exact, checked = METHODS[method].exact, set()
    for key, theirs in official_decisions(fixture, exact).items():
        kind, _, block = key.partition("_block")
        CHECKS[kind](theirs, model, groupings, int(block or -1), exact)
        checked.add(kind)
    assert checked


def official_decisions(fixture: parity.Fixture, exact: bool) -> dict[str, torch.Tensor]:
    """By name, in the order of the blocks. Where the order of groups is free, the assignment of a block is that of the
    input's tokens, not that of the groups before it."""
    theirs = {key: fixture.array(key) for key in fixture.arrays if not key.startswith("logits")}
    so_far = None
    for key in sorted(key for key in theirs if key.startswith("assignment") and not exact):
        theirs[key] = so_far = theirs[key].long() if so_far is None else theirs[key].long().gather(1, so_far)
    return theirs


@pytest.mark.parametrize(("method", "name"), FIXTURES)
def test_float32_decides_and_answers_alike(method, name):
    fixture = parity.load(name)
    logits, _, _ = run(reduced(method, fixture, torch.float32), fixture.image(dtype=torch.float32))
    expected = fixture.array("logits_fp64")
    assert parity.largest_difference(logits, expected) < 1e-4 * expected.std().item()


@pytest.mark.parametrize(("method", "name"), FIXTURES)
def test_cost_is_the_official_models(method, name):
    fixture = parity.load(name)
    model, x = reduced(method, fixture, torch.float32), fixture.image(dtype=torch.float32)
    spared = METHODS[method].spared(fixture.facts)
    assert dynvit.complexity(model, x).macs.max().item() == round(fixture.facts["gmacs"] * 1e9) - spared


def same_groups(ours: torch.Tensor, theirs: torch.Tensor, exact: bool) -> bool:
    """Whether tokens are together, and vanished (-1), in one as in the other."""
    if exact:
        return torch.equal(ours, theirs.long())
    together = [(of[:, :, None] == of[:, None, :]) & (of >= 0)[:, None] for of in (ours, theirs)]
    return torch.equal(*together)


def check_token_of_patch_final(theirs, model, groupings, block, exact):
    assert same_groups(model.sources.token_of_patch, theirs, exact)


def check_final_sizes(theirs, model, groupings, block, exact):
    sizes = [model.sources.sizes, theirs] if exact else [of.sort(1)[0] for of in (model.sources.sizes, theirs)]
    assert parity.largest_difference(*sizes) < 1e-9


def check_kept(theirs, model, groupings, block, exact):
    """Positions among the patch tokens that entered the block; -1 fills up images that keep fewer."""
    assert torch.equal((groupings[block].kept_BK[:, 1:] - 1).where(theirs >= 0, -1), theirs.long())


def check_dropped(theirs, model, groupings, block, exact):
    assert torch.equal(groupings[block].gone_BR - 1, theirs.long())


def check_assignment(theirs, model, groupings, block, exact):
    """The cluster of each token that entered the block, patches alone or with the class token in front."""
    grouping = groupings[block]
    entered = grouping.kept_BK.shape[1] + grouping.gone_BR.shape[1]
    ours = grouping.token_of(entered) if exact else model.sources.layers[block]
    assert same_groups(ours if theirs.shape == ours.shape else ours[:, 1:] - 1, theirs, exact)


def check_soft_assignment(theirs, model, groupings, block, exact):
    """Where each token's largest weight is; the weights themselves are in test_mixtures.py."""
    assert torch.equal(groupings[block].into_BR - 1, theirs.argmax(1))


CHECKS = {
    "token_of_patch_final": check_token_of_patch_final,
    "final_sizes": check_final_sizes,
    "kept": check_kept,
    "dropped": check_dropped,
    "assignment": check_assignment,
    "soft_assignment": check_soft_assignment,
}
