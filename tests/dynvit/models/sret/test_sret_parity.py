"""SReT against the official models: logits, features, losses, gradients, checkpoint names."""

from __future__ import annotations

import parity
import pytest
import torch
from torch import Tensor

from dynvit import load_official, training_loss
from dynvit.models.sret.model import SReT
from dynvit.models.sret.official import sret_names

SLICED = ["sret_mini", "sret_t"]
ALL = [*SLICED, "sret_mini_wo_slice", "sret_t_wo_slice", "sret_s_wo_slice"]


def build(fixture: parity.Fixture, dtype: torch.dtype = torch.float64, **options: object) -> SReT:
    facts = fixture.facts["constructor"]
    plain = [1, 1, 1]
    groups = zip(facts.get("groups_first_pass", plain), facts.get("groups_second_pass", plain), strict=True)
    settings = {
        "img_size": facts["image_size"],
        "num_classes": fixture.classes,
        "base_dim": facts["base_dims"][0],
        "heads": facts["heads"],
        "depth": facts["depth"],
        "mlp_ratio": facts["mlp_ratio"],
        "nll_ratio": facts["nll_mlp_ratio"],
        "groups": [list(passes) for passes in groups],
    }
    model = SReT(**(settings | options)).to(dtype)
    load_official(model, fixture.state_dict(dtype))
    model.permuter = parity.permutation
    return model


def run(model: SReT, x_BCHW: Tensor) -> Tensor:
    with torch.no_grad():
        return model.eval()(x_BCHW)


@pytest.mark.parametrize("name", ALL)
def test_evaluation(name: str) -> None:
    fixture = parity.load(name)
    model = build(fixture)
    assert sum(p.numel() for p in model.parameters()) == fixture.facts["n_params"]
    assert parity.largest_difference(run(model, fixture.image()), fixture.array("logits_fp64")) < 1e-9
    with torch.no_grad():
        features_BC = model.forward_head(model.forward_features(fixture.image()), pre_logits=True)
    assert parity.largest_difference(features_BC, fixture.array("features_fp64")) < 1e-9
    assert parity.largest_difference(run(model.fuse(), fixture.image()), fixture.array("logits_fp64")) < 1e-9


@pytest.mark.parametrize("name", ALL)
def test_training_step(name: str) -> None:
    fixture = parity.load(name)
    truth = fixture.facts["train"]
    model = build(fixture).train()
    logits_BK = model(fixture.image())
    assert parity.largest_difference(logits_BK, fixture.array("train_logits_fp64")) < 1e-9
    distilled = training_loss(logits_BK, fixture.labels(), fixture.teacher_logits())
    assert distilled.item() == pytest.approx(truth["kd_soft_cross_entropy_T1"], abs=1e-9)
    loss = training_loss(logits_BK, fixture.labels())
    assert loss.item() == pytest.approx(truth["cross_entropy"], abs=1e-9)
    loss.backward()
    names = sret_names(model.state_dict(), model.recursion, model.nlls_per_block)
    assert parity.wrong_gradients(model, truth["grad_l2"], names) == {}
    for key, first in truth["running_mean_after_step_first4"].items():
        assert model.state_dict()[names[key]][:4].tolist() == pytest.approx(first, abs=1e-9)


@pytest.mark.parametrize("name", SLICED)
def test_identity_permutation(name: str) -> None:
    fixture = parity.load(name)
    model = build(fixture)
    model.permuter = lambda k, n: torch.arange(n)
    assert parity.largest_difference(run(model, fixture.image()), fixture.array("logits_identity_perm_fp64")) < 1e-9


@pytest.mark.parametrize("name", ["sret_mini", "sret_mini_wo_slice", "sret_t"])
def test_single_precision(name: str) -> None:
    fixture = parity.load(name)
    logits_BK = run(build(fixture, torch.float32), fixture.image(dtype=torch.float32))
    limit = 1e-4 * fixture.facts["logits_std_fp64"]
    assert parity.largest_difference(logits_BK, fixture.array("logits_fp64")) < limit


@pytest.mark.parametrize(
    ("mistake", "effect"),  # the effects stand in the fixtures' own notes
    [
        ({"groups": [[4, 2], [4, 1], [1, 1]]}, 0.069),
        ({"groups": [[8, 2], [2, 1], [1, 1]]}, 0.021),
        ({"groups": [[8, 1], [4, 1], [1, 1]]}, 0.0046),
        ({"groups": [[2, 8], [1, 4], [1, 1]]}, 0.094),
    ],
)
def test_a_deliberate_mistake_shows(mistake: dict[str, object], effect: float) -> None:
    fixture = parity.load("sret_t")
    difference = parity.largest_difference(
        run(build(fixture, **mistake), fixture.image()), fixture.array("logits_fp64")
    )
    assert difference == pytest.approx(effect, rel=0.1)


def test_a_permutation_that_does_not_advance_shows() -> None:
    fixture = parity.load("sret_t")
    model = build(fixture)
    model.permuter = lambda k, n: parity.permutation(0, n)
    difference = parity.largest_difference(run(model, fixture.image()), fixture.array("logits_fp64"))
    assert difference == pytest.approx(2.65e-3, rel=0.01)


def test_official_names_with_and_without_aliases() -> None:
    fixture = parity.load("sret_t")
    state = fixture.state_dict()
    assert len(state) == 510
    model = build(fixture)
    expected = run(model, fixture.image())
    for official in (fixture.state_dict(aliases=False), {"model": state, "epoch": 300}):
        other = SReT().double()
        other.permuter = parity.permutation
        assert load_official(other, official) is other
        assert torch.equal(run(other, fixture.image()), expected)


def test_official_names_any_alias_will_do() -> None:
    fixture = parity.load("sret_mini")
    state = fixture.state_dict()
    second = {row[5]: row[0] for row in fixture.facts["state_dict"] if row[5]}
    only_second = {key: value for key, value in state.items() if key not in second}
    model = build(fixture)
    load_official(model, only_second)
    assert parity.largest_difference(run(model, fixture.image()), fixture.array("logits_fp64")) < 1e-9


def test_aliases_that_differ_are_rejected() -> None:
    fixture = parity.load("sret_mini")
    state = fixture.state_dict()
    alias = "transformers.1.blocks.2.attn.qkv.weight"
    state[alias] = state[alias] + 1e-3
    with pytest.raises(ValueError, match=r"two names of one shared tensor: transformers.1.blocks.2.attn.qkv.weight"):
        load_official(build(fixture), state)


def test_every_wrong_key_is_told_in_official_names() -> None:
    fixture = parity.load("sret_mini")
    state = fixture.state_dict()
    del state["head.bias"], state["transformers.2.blocks.1.coefficient2.bias"]
    state["cls_token"] = torch.zeros(1, 1, 8)
    state["patch_embed.conv1.weight"] = torch.zeros(4, 1, 3, 3)
    model = build(fixture)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match="missing") as error:
        load_official(model, state)
    for key in ("head.bias", "transformers.2.blocks.1.coefficient2.bias", "cls_token", "patch_embed.conv1.weight"):
        assert key in str(error.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mlp_ratio": 3.0}, r"wrong shape: transformers.0.blocks.0.mlp.fc1.weight \(28, 8\), ours \(24, 8\)"),
        ({"nll": False}, "unexpected: transformers.0.blocks.1.coefficient1.bias"),
        ({"recursion": 4}, "different values under two names of one shared tensor"),
    ],
)
def test_checkpoint_of_another_variant(options: dict[str, object], message: str) -> None:
    fixture = parity.load("sret_mini")
    with pytest.raises(ValueError, match=message):
        build(fixture, **options)


def test_shared_blocks_unroll_into_equal_ones() -> None:
    """The official second names are what a model without sharing has as blocks of their own."""
    fixture = parity.load("sret_mini_wo_slice")
    unrolled = build(fixture, recursion=1)
    assert len(unrolled.stages[0].blocks) == 4
    assert parity.largest_difference(run(unrolled, fixture.image()), fixture.array("logits_fp64")) < 1e-9
