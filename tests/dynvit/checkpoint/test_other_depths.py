"""Weights of a backbone with more or fewer layers than the model, for every family: a sentence or an error."""

import pytest
import timm
import torch
from dynvit_families import FAMILIES, SIZE, build
from safetensors.torch import save_file
from small_task import Folder

from dynvit.checkpoint.load import InitSpec, load_initial_weights
from dynvit.trunks import trunk_of

TIMM = {"deit_tiny_patch16_224": "evit", "swin_tiny_patch4_window7_224": "tpc_swin", "levit_128s": "evo_levit"}
"""Backbones that load their own weights, with the family whose sizes they get."""
SIZES = ("patch_size", "embed_dim", "num_heads", "window_size", "stem_width", "key_dim")


def backbone(family, change):
    """The family's backbone, or the family itself, with so many more blocks in the last stage, and its weights."""
    name, options = FAMILIES[family]
    if family == "sret":
        blocks = options["unique"]
        return timm.create_model(name, img_size=SIZE, **{**options, "unique": (*blocks[:1], blocks[1] + change, 1)})
    if family == "lvvit":
        return timm.create_model(name, img_size=SIZE, **{**options, "depth": options["depth"] + change})
    wanted = {key: options[key] for key in SIZES if key in options}
    if "lvvit" in family:
        wanted["stem_strides"] = options["stem_strides"]
    key = "depths" if "depths" in options else "depth"
    depth = options[key]
    wanted[key] = depth + change if isinstance(depth, int) else (*depth[:-1], depth[-1] + change)
    return timm.create_model(trunk_of({"name": name})["name"], img_size=SIZE, num_classes=5, **wanted)


def said(model, trunk, tmp_path):
    """Return what the log says, or the error."""
    context = Folder(tmp_path)
    save_file({name: t.contiguous() for name, t in trunk.state_dict().items()}, tmp_path / "trunk.safetensors")
    try:
        load_initial_weights(model, InitSpec(str(tmp_path / "trunk.safetensors")), "", context.log_text)
    except ValueError as error:
        return str(error)
    return "".join(context.logged[1:])


@pytest.mark.parametrize("family", FAMILIES)
def test_another_number_of_layers_is_said_and_the_same_number_is_not(family, tmp_path):
    assert said(build(family), backbone(family, 0), tmp_path) == ""
    for change in (1, 2, -1):
        text = said(build(family), backbone(family, change), tmp_path)
        assert "another number of layers than the model" in text or "has layers that the model lacks" in text, (
            change,
            text,
        )


MOR = {"img_size": SIZE, "patch_size": 8, "embed_dim": 16, "num_heads": 2, "depth": 8, "recursion": 2, "num_classes": 5}


@pytest.mark.parametrize("change", [{"routing": "expert"}, {"sharing": "cycle"}, {"recursion": 3}], ids=str)
def test_mor_vit_takes_what_fits_of_one_with_other_options(change, tmp_path):
    """Its blocks have names of their own, which were taken for numbers of layers."""
    trained = timm.create_model("mor_vit_tiny_patch16_224", **MOR)
    model = timm.create_model("mor_vit_tiny_patch16_224", **{**MOR, **change})
    said(model, trained, tmp_path)
    own, theirs = model.state_dict(), trained.state_dict()
    both = [name for name in own if name in theirs and own[name].shape == theirs[name].shape]
    assert [name for name in both if name.startswith("blocks.")]
    assert all(torch.equal(own[name], theirs[name]) for name in both)


def test_weights_of_another_kind_of_model_are_said(tmp_path):
    """The embeddings fit, and the blocks would be trained from scratch."""
    plain = {key: value for key, value in MOR.items() if key != "recursion"}
    model = timm.create_model("deit_tiny_patch16_224", **plain)
    trained = timm.create_model("mor_vit_tiny_patch16_224", **MOR)
    text = said(model, trained, tmp_path)
    assert (
        "is of another kind of model: 96 of the model's 104 tensors are not in it and start at initialisation" in text
    )


@pytest.mark.parametrize(("name", "family"), TIMM.items())
def test_timm_models_say_it_too(name, family, tmp_path):
    assert said(backbone(family, 0), backbone(family, 0), tmp_path) == ""
    for change in (1, -1):
        text = said(backbone(family, 0), backbone(family, change), tmp_path)
        assert "another number of layers than the model" in text or "has layers that the model lacks" in text, (
            change,
            text,
        )


def test_a_classifier_of_other_classes_is_left_out_whole(tmp_path):
    """LeViT's has a normalization in front, whose length is no number of classes."""
    model, trunk = build("evo_levit", num_classes=7), backbone("evo_levit", 0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    said(model, trunk, tmp_path)
    after, given = model.state_dict(), trunk.state_dict()
    assert all(after[name].equal(before[name]) for name in after if name.startswith("head."))
    assert after["stem.conv1.linear.weight"].equal(given["stem.conv1.linear.weight"])
