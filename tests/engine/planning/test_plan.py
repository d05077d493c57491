"""Plans: configs laid in order, the disk taken into account, older and foreign trials used again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from finished_trial import finish
from study_text import STUDY, TASK, write

from studies.engine.core.errors import StudyError
from studies.engine.core.trial import State, Trial
from studies.engine.planning.plan import Plan, make_plan
from studies.engine.storage import plan_file
from studies.engine.storage.results_dir import Store
from studies.engine.study import parser


def plan(folder: Path, text: str = STUDY, name: str = "small", **options: Any) -> Plan:
    return make_plan(parser.load(write(folder, text, name)), Store(folder / "results"), **options)


def by_arm(found: Plan, part: str, arm: str, seed: int = 0) -> Trial:
    return next(t for t in found.trials if (t.arm.part, t.arm.label, t.seed) == (part, arm, seed))


# ---- configs


def test_a_trial_holds_the_whole_config(tmp_path: Path) -> None:
    config = by_arm(plan(tmp_path), "net", "recursion=3").config
    assert config["train"] == {"epochs": 2, "lr": 0.2, "optimizer": "adamw", "warmup": 0}
    assert config["model"]["name"] == "sret_tiny"
    assert config["model"]["recursion"] == 3
    assert config["model"]["base_dim"] == 8
    assert config["model"]["mlp_ratio"] == 3.6  # the variant's own
    assert config["model"]["groups"] == [[8, 2]]
    assert not {"img_size", "num_classes", "drop_path_rate"} & config["model"].keys()


def test_override_and_smoke_come_last_and_numbers_take_their_type(tmp_path: Path) -> None:
    found = plan(
        tmp_path, overrides=[("train.epochs", 7), ("rate.train.optimizer", "sgd"), ("train.warmup", 1.0)], smoke=True
    )
    train = by_arm(found, "rate", "lr=fast").config["train"]
    assert repr(train) == repr({"epochs": 1, "lr": 1.0, "optimizer": "sgd", "warmup": 1})
    assert by_arm(found, "net", "baseline").config["train"]["optimizer"] == "adamw"
    assert {t.seed for t in found.trials} == {0}
    assert found.label.startswith("smoke-set-")


def test_spelling_does_not_name_another_trial(tmp_path: Path) -> None:
    text = STUDY.replace("train.lr: 0.2", "train: {lr: 2e-1}").replace("epochs: 2}", "epochs: 2.0}")
    ids = {t.id for t in plan(tmp_path / "a").trials}
    assert {t.id for t in plan(tmp_path / "b", text).trials} == ids
    assert {t.id for t in plan(tmp_path / "c", STUDY.replace("0.2", "0.3")).trials}.isdisjoint(
        {t.id for t in plan(tmp_path / "a").trials if t.arm.part == "net"}
    )


def test_an_inert_axis_stays_at_its_baseline(tmp_path: Path) -> None:
    arm = by_arm(plan(tmp_path), "net", "recursion=1").arm
    assert dict(arm.coords) == {"recursion": "1", "slices": None}
    assert arm.config["model"]["groups"] == [[8, 2]]


def test_labels_and_folders(tmp_path: Path) -> None:
    assert plan(tmp_path).folder.name == "small"
    assert plan(tmp_path, scale="tiny").folder.name == "small"
    assert plan(tmp_path, scale="large").folder.name == "small@large"
    assert plan(tmp_path, scale="large", smoke=True).folder.name == "small@large-smoke"
    one = plan(tmp_path, overrides=[("train.epochs", 3), ("train.warmup", 1)]).label
    other = plan(tmp_path, overrides=[("train.warmup", 1), ("train.epochs", 3)]).label
    assert one == other
    assert one != plan(tmp_path, overrides=[("train.epochs", 4), ("train.warmup", 1)]).label


# ---- selection


@pytest.mark.parametrize(
    ("only", "arms"),
    [
        ({"part": ("rate",)}, ["rate baseline", "rate lr=fast"]),
        ({"recursion": ("1", "3")}, ["net recursion=1", "net recursion=3"]),
        ({"slices": ("none",), "recursion": ("2",)}, ["net slices=none"]),
        ({"net.recursion": ("1",), "rate.lr": ("fast",)}, ["net recursion=1", "rate lr=fast"]),
        ({"part": ("net",), "slices": ("none",)}, ["net slices=none"]),
    ],
)
def test_only_chooses_arms_but_the_plan_knows_the_rest(tmp_path: Path, only: dict[str, Any], arms: list[str]) -> None:
    found = plan(tmp_path, only=only, seeds=[1])
    assert [f"{t.arm.part} {t.arm.label}" for t in found.selected] == arms
    assert {t.seed for t in found.to_run} == {1}
    assert len(found.trials) == 12


def test_choosing_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="leaves no trial"):
        plan(tmp_path, only={"slices": ("none",), "recursion": ("1",)})


@pytest.mark.parametrize(
    ("only", "missed"),
    [
        ({"slices": ("none",), "net.recursion": ("1",), "rate.lr": ("fast",)}, "slices.*none: no arm that the other"),
        ({"slices": ("none",), "recursion": ("1", "2")}, "recursion.*1: no arm that the other"),
        ({"part": ("rate",), "recursion": ("1",), "lr": ("fast",)}, "recursion.*1: no arm that the other"),
        ({"part": ("rate", "net"), "lr": ("fast",)}, "part.*net: no arm that the other"),
    ],
)
def test_what_is_asked_for_beside_others_is_not_left_out_in_silence(
    tmp_path: Path, only: dict[str, Any], missed: str
) -> None:
    with pytest.raises(StudyError, match=missed):
        plan(tmp_path, only=only)


# ---- the disk


def test_what_is_done_is_not_run_again(tmp_path: Path) -> None:
    first = plan(tmp_path)
    store = Store(tmp_path / "results")
    for trial in first.trials[:3]:
        finish(store, trial)
    store.trial(first.trials[3].folder_id).create(first.trials[3].spec())
    store.trial(first.trials[3].folder_id).set_state(State("failed", attempt=2, reason="x"))
    again = plan(tmp_path)
    assert [again.state(t).status for t in again.trials[:5]] == ["done", "done", "done", "failed", "planned"]
    assert again.to_run == again.trials[3:]
    assert again.restart == frozenset()
    assert again.reused == 0


def test_rerun_says_what_begins_anew(tmp_path: Path) -> None:
    first = plan(tmp_path)
    store = Store(tmp_path / "results")
    done, old, failed = first.trials[:3]
    finish(store, done)
    finish(store, old, source="another")
    store.trial(failed.folder_id).create(failed.spec())
    store.trial(failed.folder_id).set_state(State("failed", attempt=1))
    ids = [t.folder_id for t in (done, old, failed)]
    assert plan(tmp_path).stale == 1
    for rerun, restarted in (("failed", ids[2:]), ("stale", ids[1:]), ("all", ids)):
        found = plan(tmp_path, rerun=rerun)
        assert found.restart == set(restarted), rerun
        assert {t.folder_id for t in found.to_run} == {t.folder_id for t in first.trials} - set(ids) | set(restarted)
    assert plan(tmp_path, rerun="all", seeds=[0], only={"part": ("net",)}).restart == {ids[0], ids[2]}


def test_a_trial_that_two_parts_want_is_run_once(tmp_path: Path) -> None:
    text = STUDY.replace(
        "  rate:\n", "  twin:\n    base: {model: {name: sret_tiny, base_dim: 8, groups: [[8, 2]]}}\n  rate:\n"
    )
    found = plan(tmp_path, text)
    assert by_arm(found, "twin", "baseline").id == by_arm(found, "net", "baseline").id
    assert len(found.trials) == 14
    assert len(found.to_run) == 12


def test_another_study_pays_once(tmp_path: Path) -> None:
    first = plan(tmp_path)
    for trial in first.trials:
        finish(Store(tmp_path / "results"), trial)
    other = plan(tmp_path, STUDY.replace("study: small", "study: other"), "other")
    assert (other.to_run, other.reused, other.estimate) == ((), 12, None)


def test_a_new_option_keeps_old_results(tmp_path: Path) -> None:
    first = plan(tmp_path)
    finish(Store(tmp_path / "results"), first.trials[0])
    finish(Store(tmp_path / "results"), first.trials[1])

    def with_task(text: str) -> Plan:
        file = write(tmp_path)
        (tmp_path / "task.py").write_text(text)
        return make_plan(parser.load(file), Store(tmp_path / "results"))

    newer = with_task(TASK.replace("    warmup: int = 0\n", "    warmup: int = 0\n    clip: float = 1\n"))
    assert [t.folder_id == t.id for t in newer.trials] == [False, False] + [True] * 10
    assert [t.folder_id for t in newer.trials[:2]] == [t.id for t in first.trials[:2]]
    assert newer.to_run == newer.trials[2:]
    changed = with_task(TASK.replace("warmup: int = 0", "warmup: int = 1"))
    assert len(changed.to_run) == 12
    revised = with_task(TASK.replace("REVISION = 1", "REVISION = 2"))
    assert len(revised.to_run) == 12


def test_the_estimate_is_measured_by_part(tmp_path: Path) -> None:
    assert plan(tmp_path).estimate is None
    store = Store(tmp_path / "results")
    first = plan(tmp_path)
    finish(store, by_arm(first, "net", "baseline"), seconds=10)
    finish(store, by_arm(first, "net", "baseline", 1), seconds=20)
    finish(store, by_arm(first, "rate", "baseline"), seconds=2)
    guess = plan(tmp_path).estimate
    assert guess is not None
    assert (guess.measured_on, guess.device) == (3, "cpu")
    assert guess.seconds == pytest.approx(6 * 15 + 3 * 2)
    assert guess.seconds_per_trial == pytest.approx(guess.seconds / 9)
    assert guess.gpu_hours == 0


def test_planning_writes_nothing(tmp_path: Path) -> None:
    plan(tmp_path)
    assert not (tmp_path / "results").exists()


def test_the_plan_on_disk_says_what_the_plan_says(tmp_path: Path) -> None:
    made = plan(tmp_path, only={"part": ("rate",)})
    written = plan_file.write_plan(made.to_plan_file())
    read = plan_file.read_plan(made.folder)
    assert [(t.part, t.arm, t.seed, t.trial, t.folder, t.coords, t.blocks, t.baseline) for t in read.trials] == [
        (t.arm.part, t.arm.label, t.seed, t.id, t.folder_id, dict(t.arm.coords), t.arm.blocks, t.arm.is_baseline)
        for t in made.trials
    ]
    assert (read.study, read.label, read.scale, read.task) == ("small", "", "tiny", "task.py")
    assert read.study_text == STUDY
    axes = {axis.name: (axis.label, axis.levels, axis.baseline) for axis in read.parts[0].axes}
    assert axes["recursion"] == ("Recursion depth", ("1", "2", "3"), "2")
    assert axes["slices"] == ("slices", ("none", "paper"), "paper")
    before = written.stat().st_mtime_ns
    plan_file.write_plan(replace(made, selected=made.trials).to_plan_file())
    assert written.stat().st_mtime_ns == before


def test_a_plan_is_found_by_its_label_with_and_without_the_default_scale(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    for options in ({}, {"smoke": True}, {"scale": "large"}):
        plan_file.write_plan(plan(tmp_path, **options).to_plan_file())
    assert [f.name for f in plan_file.folders(store.root)] == ["small", "small@large", "small@smoke"]
    for label, name in (("", "small"), ("tiny", "small"), ("tiny-smoke", "small@smoke"), ("large", "small@large")):
        found = plan_file.find(store.root, "small", label)
        assert found is not None
        assert found.name == name
    assert plan_file.find(store.root, "small", "huge") is None
    assert plan_file.find(store.root, "other", "") is None
