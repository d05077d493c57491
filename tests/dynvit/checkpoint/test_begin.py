"""Initial weights: parameter names, other grids and classes, and what the log reports."""

import dataclasses

import pytest
import timm
import torch
from safetensors.torch import save_file
from small_task import Folder, config, register

from dynvit.checkpoint import load as module
from dynvit.checkpoint.load import InitSpec, load_initial_weights, load_matching
from dynvit.checkpoint.read import InitError, read_state_dict
from dynvit.context import NullContext
from dynvit.tasks.classify import run

register()


def begin(model, init, name, context):
    load_initial_weights(model, InitSpec.parse(init), name, context.log_text)


WIDTH = {"embed_dim": 12, "depth": 4, "num_heads": 2, "patch_size": 4, "num_classes": 10}


@pytest.fixture
def context(tmp_path):
    return Folder(tmp_path)


def trunk(size=16, **options):
    torch.manual_seed(1)
    return timm.create_model("deit_tiny_patch16_224", img_size=size, **{**WIDTH, **options})


def test_own_file(tmp_path, context):
    source, model = trunk(), timm.create_model("deit_tiny_patch16_224", img_size=16, **WIDTH)
    save_file(source.state_dict(), tmp_path / "own.safetensors")
    begin(model, str(tmp_path / "own.safetensors"), "deit_tiny_patch16_224", context)
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(model.eval()(x), source.eval()(x))
    assert "loaded 56 tensors; kept at initialisation: none; unused in the source: none" in context.logged[0]


def test_another_grid_and_other_classes(tmp_path, context):
    torch.save({"model": trunk().state_dict()}, tmp_path / "own.pth")
    model = timm.create_model("deit_tiny_patch16_224", img_size=32, **{**WIDTH, "num_classes": 5})
    head = model.head.weight.clone()
    begin(model, str(tmp_path / "own.pth"), "", context)
    assert torch.equal(model.head.weight, head)
    assert torch.equal(model.pos_embed[:, 0], trunk().pos_embed[:, 0])
    grid = model.pos_embed[:, 1:].unflatten(1, (8, 8)).mean((1, 2))
    torch.testing.assert_close(grid, trunk().pos_embed[:, 1:].mean(1), atol=2e-3, rtol=0)
    assert (
        "kept at initialisation: head.weight, head.bias; unused in the source: head.weight, head.bias"
        in context.logged[0]
    )


@pytest.mark.parametrize(
    "name", ["dynamicvit_deit_tiny_patch16_224", "evo_deit_tiny_patch16_224", "tpc_deit_tiny_patch16_224"]
)
def test_a_trunks_file_starts_a_method(tmp_path, context, name):
    save_file(trunk().state_dict(), tmp_path / "trunk.safetensors")
    model = timm.create_model(name, img_size=32, **{**WIDTH, "num_classes": 7})
    begin(model, str(tmp_path / "trunk.safetensors"), name, context)
    assert torch.equal(model.blocks[1].mlp.fc1.weight, trunk().blocks[1].mlp.fc1.weight)
    assert "kept at initialisation" in context.logged[0]


def test_a_methods_own_file_is_not_taken_for_its_trunks(tmp_path, context):
    source = timm.create_model("dynamicvit_deit_tiny_patch16_224", img_size=16, **WIDTH)
    save_file(source.state_dict(), tmp_path / "own.safetensors")
    model = timm.create_model("dynamicvit_deit_tiny_patch16_224", img_size=16, **WIDTH)
    begin(model, str(tmp_path / "own.safetensors"), "", context)
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), source.state_dict().values(), strict=True)
    )


def test_swin_tables_of_another_window():
    small = {"embed_dim": 8, "depths": (1, 1), "num_heads": (1, 2), "patch_size": 2, "num_classes": 10}
    source = timm.create_model("swin_tiny_patch4_window7_224", img_size=16, window_size=4, **small)
    model = timm.create_model("swin_tiny_patch4_window7_224", img_size=32, window_size=8, **small)
    report = load_matching(model, source.state_dict())
    assert any("relative_position_bias_table" in name for name in report.loaded)
    assert not [name for name in report.kept if "index" not in name]


def test_from_the_hub(monkeypatch, context):
    asked, published, model = [], trunk(), trunk()

    def create(name, pretrained=False):
        asked.append((name, pretrained))
        return published

    monkeypatch.setattr(module.timm, "create_model", create)
    torch.nn.init.zeros_(model.head.weight)
    begin(model, "timm", "avit_deit_tiny_patch16_224", context)
    assert asked == [("deit_tiny_patch16_224", True)]  # the trunk of the method
    assert torch.equal(model.head.weight, published.head.weight)
    assert context.logged[0].startswith("init deit_tiny_patch16_224: loaded 56 tensors")

    def refuse(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(module.timm, "create_model", refuse)
    with pytest.raises(
        InitError, match=r"no weights of deit_tiny_patch16_224 \(OSError: no route.*give a file: init: FILE"
    ):
        begin(model, "timm", "avit_deit_tiny_patch16_224", context)


def test_official_names(tmp_path, context):
    model = timm.create_model("evo_deit_tiny_patch16_224", img_size=16, **WIDTH)
    torch.save({"head.weight": torch.zeros(1)}, tmp_path / "official.pth")
    with pytest.raises(ValueError, match="checkpoint does not fit EvoDeiT; missing"):
        begin(model, f"official {tmp_path / 'official.pth'}", "", context)


def test_a_trial_begins_where_another_ended(tmp_path):
    first = Folder(tmp_path)
    done = run(dataclasses.replace(config(), keep_checkpoint=True), first)
    second = NullContext(seed=9)
    options = dataclasses.replace(config(epochs=1, lr=1e-9, warmup_lr=1e-9, min_lr=1e-9), init=str(tmp_path))
    found = run(options, second)
    assert found["metrics"]["last"]["loss"] == pytest.approx(done["metrics"]["last"]["loss"], rel=1e-3)


def test_what_cannot_be_loaded(tmp_path, context):
    model = trunk()
    with pytest.raises(InitError, match="no file"):
        begin(model, str(tmp_path / "nowhere.pth"), "", context)
    with pytest.raises(InitError, match=r"holds none of last\.safetensors.*keep_checkpoint"):
        read_state_dict(tmp_path)
    save_file({"strange": torch.zeros(2)}, tmp_path / "strange.safetensors")
    with pytest.raises(InitError, match="not one of 1 tensors is known to VisionTransformer: strange"):
        begin(model, str(tmp_path / "strange.safetensors"), "", context)
    save_file(trunk(embed_dim=16).state_dict(), tmp_path / "wide.safetensors")
    with pytest.raises(InitError, match=r"weights of another size: .*proj\.weight: \(16, 16\), ours \(12, 12\)"):
        begin(model, str(tmp_path / "wide.safetensors"), "", context)


@pytest.mark.parametrize("name", ["deit_tiny_patch16_224", "evo_deit_tiny_patch16_224", "tpc_deit_tiny_patch16_224"])
@pytest.mark.parametrize("classifier", [True, False])
def test_a_file_of_which_no_more_than_the_classifier_fits(tmp_path, context, name, classifier):
    """With a line in the log alone, the training would start from scratch."""
    state = {key if key.startswith("head.") else f"encoder.{key}": value for key, value in trunk().state_dict().items()}
    if not classifier:
        state = {f"encoder.{key}": value for key, value in state.items()}
    save_file(state, tmp_path / "other.safetensors")
    but = " but the classifier's" if classifier else ""
    with pytest.raises(InitError, match=rf"not one of \d+ tensors{but} is known to .*: encoder\..*; it has cls_token"):
        begin(timm.create_model(name, img_size=16, **WIDTH), str(tmp_path / "other.safetensors"), name, context)


@pytest.mark.parametrize("name", ["deit_tiny_distilled_patch16_224", "tpc_deit_tiny_patch16_224"])
@pytest.mark.parametrize("table", ["another token", "empty", "flat", "a number"])
def test_a_position_table_that_is_none_is_named(tmp_path, name, table, context):
    state = trunk().state_dict()
    tables = {"another token": torch.ones(1, 19, 12), "empty": torch.ones(1, 0, 12), "flat": torch.ones(17)}
    save_file({**state, "pos_embed": tables.get(table, torch.tensor(1.0))}, tmp_path / "trunk.safetensors")
    model = timm.create_model(name, img_size=16, **WIDTH)
    with pytest.raises(ValueError, match=r"^(backbone )?weights of another (size|kind).*: pos_embed: \("):
        begin(model, str(tmp_path / "trunk.safetensors"), name, context)


@pytest.mark.parametrize("dtype", [torch.int8, torch.complex64])
def test_numbers_of_another_kind_are_refused(tmp_path, context, dtype):
    torch.save({name: tensor.to(dtype) for name, tensor in trunk().state_dict().items()}, tmp_path / "own.pth")
    with pytest.raises(ValueError, match=rf"56 tensors are not of floating point \({dtype}\): cls_token, "):
        begin(trunk(), str(tmp_path / "own.pth"), "", context)
