"""A seed gives every family the weights it always gave, and leaves the random stream where it always left it.

A value that changes means that published trials no longer repeat: UPDATE_GOLDEN=1 is for families that are new.
"""

import json
import os
from collections import defaultdict
from pathlib import Path

import pytest
import timm
import torch
from dynvit_families import FAMILIES, MOR

GOLDEN = Path(__file__).parents[2] / "golden" / "dynvit" / "initial_weights.json"
MODELS = {
    **FAMILIES,
    "mor_sequence": ("mor_vit_tiny_patch16_224", {**MOR, "sharing": "sequence", "router": "mlp3", "in_chans": 1}),
    "mor_unshared": ("mor_vit_tiny_patch16_224", {**MOR, "sharing": "none", "routing": "expert"}),
    "evo_deit_no_classes": ("evo_deit_tiny_patch16_224", {**FAMILIES["evo_deit"][1], "num_classes": 0}),
}


def draw(family):
    """Return a weighted sum of each part's elements, and the next number of the random stream."""
    name, options = MODELS[family]
    torch.manual_seed(0)
    model = timm.create_model(name, **{"img_size": 48, "num_classes": 5, **options})
    drawn = {"next number": torch.rand(()).item()}
    parts = defaultdict(list)
    for path, tensor in sorted(model.state_dict().items()):
        parts[".".join(path.split(".")[:2])].append(tensor.double().flatten())
    for part, tensors in parts.items():
        values = torch.cat(tensors)
        # every element has a weight of its own, so that an exchange of two tensors shows
        drawn[part] = (values @ torch.linspace(1, 2, len(values), dtype=torch.float64)).item()
    return {part: float(f"{value:.7g}") for part, value in drawn.items()}


@pytest.mark.parametrize("family", MODELS)
def test_a_seed_gives_the_weights_of_every_version_before(family):
    drawn, golden = draw(family), json.loads(GOLDEN.read_text(encoding="utf-8"))
    if os.environ.get("UPDATE_GOLDEN"):
        golden = dict(sorted({**golden, family: drawn}.items()))
        lines = [f"{json.dumps(name)}: {json.dumps(values)}" for name, values in golden.items()]
        GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    assert drawn == pytest.approx(golden[family], rel=1e-5, abs=1e-9)
