"""Loading of foreign weights: strict, complete errors, honest reports."""

import pytest
import timm
import torch
from torch import nn

from dynvit import load_official, load_trunk


class Small(nn.Module):
    """Official checkpoints call our `body` "net"; the trunk has no `extra`."""

    def __init__(self, classes=3):
        super().__init__()
        self.body, self.extra, self.head = nn.Linear(2, 2), nn.Linear(2, 1), nn.Linear(2, classes)

    def convert_official(self, state):
        return {key.replace("net.", "body."): value for key, value in state.items()}

    convert_trunk = convert_official


def official(model, **changes):
    state = {k.replace("body.", "net."): torch.full_like(v, 0.5) for k, v in model.state_dict().items()}
    return {**state, **changes}


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"model": s}, lambda s: {"state_dict": s, "epoch": 3}])
def test_official_in_any_wrapping(wrap):
    model = Small()
    assert load_official(model, wrap(official(model))) is model
    assert all((p == 0.5).all() for p in model.parameters())


def test_official_keeps_the_models_dtype():
    model = Small().double()
    load_official(model, official(Small()))
    assert {p.dtype for p in model.parameters()} == {torch.float64}


def test_official_lists_everything_that_is_wrong():
    model = Small()
    state = official(model, surplus=torch.zeros(1), **{"head.weight": torch.zeros(9, 2)})
    del state["net.bias"]
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(ValueError, match="does not fit Small") as caught:
        load_official(model, state)
    text = str(caught.value)
    assert "missing: body.bias" in text
    assert "unexpected: surplus" in text
    assert "wrong shape: head.weight (9, 2), ours (3, 2)" in text
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())  # nothing was half loaded


def test_trunk_report():
    model = Small(classes=5)
    kept = model.extra.weight.clone()
    state = official(Small(classes=3), mask=torch.zeros(1))
    del state["extra.weight"], state["extra.bias"]
    report = load_trunk(model, state)
    assert report.loaded == ("body.weight", "body.bias")
    assert report.kept == ("extra.weight", "extra.bias", "head.weight", "head.bias")
    assert report.unused == ("head.weight", "head.bias", "mask")
    assert torch.equal(model.extra.weight, kept)
    assert "loaded 2 tensors" in str(report)
    assert "mask" in str(report)


def test_trunk_of_another_width():
    with pytest.raises(ValueError, match=r"another size: body.weight: \(4, 2\), ours \(2, 2\)"):
        load_trunk(Small(), official(Small(), **{"net.weight": torch.zeros(4, 2)}))


def test_trunk_of_another_kind():
    with pytest.raises(ValueError, match="not one of 2 tensors is known to Small or its backbone: a, b"):
        load_trunk(Small(), {"a": torch.zeros(1), "b": torch.zeros(2)})
    tiles = {"pos_embed": torch.zeros(1, 64, 28, 28)}
    with pytest.raises(ValueError, match=r"weights of another size: pos_embed: \(1, 64, 28, 28\), ours \(1, 197"):
        load_trunk(timm.create_model("evit_deit_tiny_patch16_224"), tiles)


def test_models_without_a_format():
    with pytest.raises(ValueError, match="Linear has no official"):
        load_official(nn.Linear(2, 2), {})
    with pytest.raises(ValueError, match="not built on a timm backbone"):
        load_trunk(nn.Linear(2, 2), {})
