"""Two processes train one model of every family: they stay equal to the last bit, also when stopped and resumed.

Each training has an average of the weights and batches in two parts; schedules change with the second epoch, the last.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rank_pair import Pair, trained
from safetensors import safe_open
from safetensors.numpy import load_file
from small_task import MODEL, Folder

from dynvit.tasks.classify import Config, Data, Evaluation, Teacher, Train
from dynvit.train.distributed import ProcessGroup
from dynvit.train.state import Clock, build, build_state

DEIT = {"patch_size": 4, "embed_dim": 16, "depth": 4, "num_heads": 2}
LVVIT = {"stem_strides": (2, 1, 1, 2), "stem_width": 4, "embed_dim": 16, "depth": 4, "num_heads": 2}
MOR = {**DEIT, "recursion": 2}
LEVIT = {
    "stem_strides": (2, 2, 1, 1), "embed_dim": (8, 12, 16), "key_dim": 4, "num_heads": (2, 2, 2), "depth": (3, 2, 2),
    "keep_ratio": (0.5, 0.5, 1.0),
}  # fmt: skip
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("vit_tiny_patch16_224", DEIT),
    "levit": ("levit_128s", {"embed_dim": (8, 12, 16), "key_dim": 4, "num_heads": (2, 2, 2), "depth": (1, 1, 1)}),
    "sret": ("sret_tiny", {"base_dim": 8, "heads": (1, 2, 4), "unique": (1, 1, 1), "stem_strides": (2, 1, 1)}),
    "evo_deit": ("evo_deit_tiny_patch16_224", {**DEIT, "prune_from": 1, "switch_epoch": 1}),
    "evo_levit": ("evo_levit_128s", {**LEVIT, "switch_epoch": 1}),
    "mor_token": ("mor_vit_tiny_patch16_224", {**MOR, "balance": "loss_free"}),
    "mor_expert": ("mor_vit_tiny_patch16_224", {**MOR, "routing": "expert", "capacity_warmup": 4}),
    "edge_recvit": ("edge_recvit_tiny_patch16_224", MOR),
    "tpc_deit": ("tpc_deit_tiny_patch16_224", DEIT),
    "tpc_lvvit": ("tpc_lvvit_small", LVVIT),
    "tpc_swin": (
        "tpc_swin_tiny_patch4_window7_224",
        {"patch_size": 2, "window_size": 4, "embed_dim": 8, "depths": (2, 2), "num_heads": (2, 2)},
    ),
    "dynamicvit_deit": ("dynamicvit_deit_tiny_patch16_224", {**DEIT, "freeze_epochs": 1, "trunk_scale": 0.1}),
    "dynamicvit_lvvit": ("dynamicvit_lvvit_small", {**LVVIT, "freeze_epochs": 1}),
    "dynamicvit_lvvit_alone": ("dynamicvit_lvvit_small", LVVIT),  # without a teacher
    "evit": ("evit_deit_tiny_patch16_224", {**DEIT, "locations": (1, 2), "shrink_start": 0, "shrink_epochs": 2}),
    "tome": ("tome_deit_tiny_patch16_224", {**DEIT, "r": 3}),
    "avit": ("avit_deit_tiny_patch16_224", {**DEIT, "gate_center": 3.0}),
    "lvvit": ("lvvit_tiny", LVVIT),
    "unread head": (MODEL, {"unread": True}),
}
TEACHERS = {
    "dynamicvit_deit": ("vit_tiny_patch16_224", DEIT),
    "dynamicvit_lvvit": ("lvvit_tiny", {**LVVIT, "skip_lam": 2.0}),
}
EXACT = ("vit", "evo_deit", "mor_expert", "tpc_deit", "tpc_swin", "evit", "tome")
"""Without chance, batch normalization and losses over a batch: the number of processes changes rounding only."""
UPDATES = 3


def config(
    name: str, options: dict[str, Any], teacher: tuple[str, dict[str, Any]] | None = None, **train: Any
) -> Config:
    settings = {"epochs": 2, "batch_size": 16, "warmup_epochs": 0, "lr": 1e-2, "ema": 0.5, "accumulate": 2, **train}
    return Config(
        model={"name": name, **options},
        data=Data(image_size=16, limit=16 * UPDATES, val_limit=24),
        train=Train(**settings),
        evaluation=Evaluation(batch_size=8, weights="ema", traced_images=8),
        teacher=Teacher(model={"name": teacher[0], **teacher[1]}, epochs=1, tokens=True) if teacher else Teacher(),
    )


@pytest.fixture(scope="session")
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.close()


def check_equal(first: dict[str, Any], second: dict[str, Any], tolerance: float = 0.0) -> None:
    """Running statistics on the CPU are each process's own between two validations; rank 0's are kept."""
    assert first["tensors"].keys() == second["tensors"].keys()
    between = first["stopped"] and second["stopped"]
    for name, tensor in first["tensors"].items():
        if between and "running_" in name:
            continue
        np.testing.assert_allclose(tensor, second["tensors"][name], rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("family", FAMILIES)
def test_ranks_are_equal_and_resuming_changes_nothing(pair: Pair, tmp_path: Path, family: str) -> None:
    options = config(*FAMILIES[family], TEACHERS.get(family))
    alone = pair.train(options, tmp_path / "uninterrupted")
    check_equal(*alone)
    for stop_at in (UPDATES + 1, UPDATES - 1):  # the end of the first epoch, inside it
        folder = tmp_path / str(stop_at)
        stopped = pair.train(options, folder, stop_at + (UPDATES if family in TEACHERS else 0))
        assert all(each["stopped"] for each in stopped)
        check_equal(*stopped)
        resumed = pair.train(options, folder)
        check_equal(*resumed)
        check_equal(alone[0], resumed[0])
        assert stopped[0]["curve"] + resumed[0]["curve"] == alone[0]["curve"]


@pytest.mark.parametrize("family", EXACT)
def test_the_number_of_processes_and_parts_changes_rounding_only(pair: Pair, tmp_path: Path, family: str) -> None:
    """With sgd: Adam makes steps of full size from gradients that are rounding alone."""
    options = config(*FAMILIES[family], epochs=1, optimizer="sgd")
    one = trained(replace(options, train=replace(options.train, accumulate=1)), Folder(tmp_path))
    check_equal(one, pair.train(options, tmp_path / "two")[0], 1e-6)


def check_files(first: Path, second: Path, tolerance: float = 0.0) -> None:
    for name in ("best.safetensors", "last.safetensors"):
        with safe_open(first / name, "numpy") as ours, safe_open(second / name, "numpy") as theirs:
            assert ours.metadata()["epoch"] == theirs.metadata()["epoch"]
        tensors = [{"tensors": load_file(folder / name), "stopped": False} for folder in (first, second)]
        check_equal(*tensors, tolerance)


def test_two_processes_choose_the_epoch_and_leave_the_files_of_one(pair: Pair, tmp_path: Path) -> None:
    """The 20 images to choose on are batches of 8, 8 and 4: the processes have shares of different sizes."""
    options = config(*FAMILIES["vit"], epochs=4, optimizer="sgd", lr=0.5, schedule="constant")
    options = replace(options, data=replace(options.data, choose=20, limit=20 + 16 * UPDATES), keep_checkpoint=True)
    (tmp_path / "one").mkdir()
    one = trained(replace(options, train=replace(options.train, accumulate=1)), Folder(tmp_path / "one"))
    alone, _ = pair.train(options, tmp_path / "alone")
    highest = max(range(4), key=lambda epoch: (one["curve"][epoch]["val.top1"], -one["curve"][epoch]["val.loss"]))
    assert one["best"]["epoch"] == 2 != highest + 1  # not what the reported images would choose
    check_equal(one, alone, 1e-6)
    for ours, theirs in zip([one["best"], *one["curve"]], [alone["best"], *alone["curve"]], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-6)
    check_files(tmp_path / "one", tmp_path / "alone", 1e-6)
    for stop_at in (UPDATES * 2 + 2, UPDATES * 2 + 1, UPDATES + 3):  # after the chosen epoch, at its end, inside it
        folder = tmp_path / str(stop_at)
        stopped, _ = pair.train(options, folder, stop_at)
        resumed, _ = pair.train(options, folder)
        assert stopped["stopped"] and resumed["best"] == alone["best"]
        assert stopped["curve"] + resumed["curve"] == alone["curve"]
        check_files(folder, tmp_path / "alone")


def test_a_batch_that_does_not_split_evenly_is_refused(tmp_path: Path) -> None:
    context = Folder(tmp_path)
    context.world = 2
    options = config(*FAMILIES["vit"], batch_size=18, accumulate=3)
    model, data = build(options, context)
    build_state(model, data, options, context, ProcessGroup(context), Clock())
    with pytest.raises(ValueError, match="batch_size 18 cannot be split evenly over 2 processes with 6 parts each"):
        build_state(
            model, data, config(*FAMILIES["vit"], batch_size=18, accumulate=6), context, ProcessGroup(context), Clock()
        )
