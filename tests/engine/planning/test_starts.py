"""Trials that start from other trials: how a study file names them, their identity, what a plan adds and repeats."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import chain
import pytest
from finished_trial import finish

from studies.engine.core.errors import StudyError
from studies.engine.core.trial import State, Trial, first_trials, reference
from studies.engine.planning.plan import Plan, make_plan
from studies.engine.storage import plan_file
from studies.engine.storage.results_dir import Store
from studies.engine.study import parser


def plan(folder: Path, text: str = chain.STUDY, name: str = "chain", **options: Any) -> Plan:
    return make_plan(parser.load(chain.write(folder, text, name)), Store(folder / "results"), **options)


def named(found: Plan, name: str) -> Trial:
    return next(t for t in found.made.values() if t.name == name)


def leave_weights(store: Store, trial: Trial, content: str = "1.0") -> None:
    (store.trial(trial.folder_id).path / "last.safetensors").write_text(content)


# ---- identity


def test_the_config_names_the_first_trial_of_the_same_seed(tmp_path: Path) -> None:
    found = plan(tmp_path)
    for seed in (0, 1):
        first, second = named(found, f"models lr=0.05 s{seed}"), named(found, f"tuned baseline s{seed}")
        assert second.config["init"] == reference(first.id)
        assert second.starts == (first.id,)
        assert named(found, f"tuned from=tuned s{seed}").starts == (second.id,)
        assert first_trials(first.spec()["config"]) == {}


def test_a_first_trial_is_the_trial_that_it_was_without_those_that_start_from_it(tmp_path: Path) -> None:
    models = chain.STUDY[: chain.STUDY.index("  tuned:")] + chain.STUDY[chain.STUDY.index("metrics:") :]
    alone = {t.name: t.id for t in plan(tmp_path, models).trials}
    assert {t.name: t.id for t in plan(tmp_path).trials if t.arm.part == "models"} == alone


def test_a_changed_first_trial_changes_what_starts_from_it(tmp_path: Path) -> None:
    before = {t.name: t.id for t in plan(tmp_path).trials}
    after = {t.name: t.id for t in plan(tmp_path, chain.STUDY.replace("0.05", "0.06")).trials}
    kept = {name for name, its in before.items() if after.get(name) == its}
    assert kept == {"models baseline s0", "models baseline s1"}


def test_trials_that_start_from_a_reused_trial_are_reused_too(tmp_path: Path) -> None:
    """A first trial from before an option existed serves under its old id; so does what started from it."""
    store, found = Store(tmp_path / "results"), plan(tmp_path)
    first, second = named(found, "models lr=0.05 s0"), named(found, "tuned baseline s0")
    for trial, folder, init in ((first, "0ldf1r5t0000", ""), (second, "0ld5ec0nd000", reference("0ldf1r5t0000"))):
        finish(store, trial)
        store.trial(trial.id).path.rename(store.trial(folder).path)
        config = {key: value for key, value in trial.config.items() if key != "depth"} | {"init": init}
        store.trial(folder).spec_file.write_text(json.dumps(trial.spec() | {"id": folder, "config": config}))
    again = plan(tmp_path)
    assert named(again, "models lr=0.05 s0").folder_id == "0ldf1r5t0000"
    assert named(again, "tuned baseline s0").folder_id == "0ld5ec0nd000"


# ---- what runs


def test_the_plan_has_stages_and_first_trials_come_first(tmp_path: Path) -> None:
    found = plan(tmp_path)
    assert [len(stage) for stage in found.stages] == [4, 4, 2]
    assert [t.folder_id for t in found.to_run] == [t.folder_id for stage in found.stages for t in stage]
    assert not found.added


def test_a_selection_brings_the_trials_that_it_starts_from(tmp_path: Path) -> None:
    found = plan(tmp_path, only={"tuned.from": ("tuned",)}, seeds=[1])
    assert {t.name for t in found.added} == {"models lr=0.05 s1", "tuned baseline s1"}
    assert [t.name for t in found.to_run] == ["models lr=0.05 s1", "tuned baseline s1", "tuned from=tuned s1"]
    store = Store(tmp_path / "results")
    finish(store, named(found, "tuned baseline s1"))
    leave_weights(store, named(found, "tuned baseline s1"))
    assert [t.name for t in plan(tmp_path, only={"tuned.from": ("tuned",)}, seeds=[1]).to_run] == [
        "tuned from=tuned s1"
    ]


def test_a_first_trial_that_left_no_weights_runs_again_and_the_plan_says_so(tmp_path: Path) -> None:
    store, found = Store(tmp_path / "results"), plan(tmp_path)
    first = named(found, "models lr=0.05 s0")
    finish(store, first)
    again = plan(tmp_path)
    assert again.again == again.restart == {first.id}
    assert first.id in {t.id for t in again.to_run}
    for trial in again.trials:
        if trial.starts:
            finish(store, trial)
    assert not plan(tmp_path).again  # no trial needs them any more


def test_a_removed_first_trial_runs_again_for_what_is_not_done(tmp_path: Path) -> None:
    store, found = Store(tmp_path / "results"), plan(tmp_path, only={"part": ("tuned",)}, seeds=[0])
    first, second = named(found, "models lr=0.05 s0"), named(found, "tuned baseline s0")
    finish(store, first)
    finish(store, second)
    leave_weights(store, second)
    shutil.rmtree(store.trial(first.id).path)
    found = plan(tmp_path, only={"part": ("tuned",)}, seeds=[0])
    assert first.id in {t.id for t in found.added}  # for shape=long
    assert second.id not in {t.id for t in found.to_run}


def test_a_first_trial_in_the_hands_of_a_worker_is_watched(tmp_path: Path) -> None:
    store, found = Store(tmp_path / "results"), plan(tmp_path)
    folder = store.trial(named(found, "models lr=0.05 s0").id)
    folder.create(named(found, "models lr=0.05 s0").spec())
    token = folder.acquire_lease()
    folder.begin_attempt(0)
    folder.set_state(State("running", attempt=1))
    found = plan(tmp_path, only={"part": ("tuned",)}, seeds=[0])
    assert [t.name for t in found.running] == ["models lr=0.05 s0"]
    assert folder.id not in {t.folder_id for t in found.to_run}
    folder.release_lease(str(token))


def test_a_trial_is_stale_when_the_first_one_has_other_weights_now(tmp_path: Path) -> None:
    store, found = Store(tmp_path / "results"), plan(tmp_path)
    first, second = named(found, "models lr=0.05 s0"), named(found, "tuned baseline s0")
    finish(store, first)
    leave_weights(store, first)
    finish(store, second)
    store.trial(second.id).set_result({"metrics": {}, "started_from": {first.id: {"file": "a", "sha256": "1"}}})
    for digest, stale in (("1", 0), ("2", 1)):
        store.trial(first.id).set_result({"metrics": {}, "kept_weights": {"file": "a", "sha256": digest}})
        assert plan(tmp_path).stale == stale
    assert second.id in plan(tmp_path, rerun="stale").restart


# ---- other studies


def test_an_arm_of_another_study(tmp_path: Path) -> None:
    first = {t.name: t.id for t in plan(tmp_path).made.values()}
    found = plan(tmp_path, chain.OTHER, "other")
    assert named(found, "other baseline s1").starts == (first["models lr=0.05 s1"],)
    assert {t.name for t in found.added} == {
        "models lr=0.05 s0", "models lr=0.05 s1", "models lr=0.05 s7", "tuned shape=long s7",
    }  # fmt: skip
    assert named(found, "other from=seven s0").starts == named(found, "other from=seven s1").starts
    assert named(found, "models lr=0.05 s7").study == "chain"
    written = found.to_plan_file()
    assert len(written.trials) == 4
    assert written.origins == {t.folder_id: f"chain: {t.name}" for t in found.added}
    assert plan_file.read_plan(plan_file.write_plan(written).parent) == written


def test_scales_and_smoke_are_those_of_the_plan(tmp_path: Path) -> None:
    scales = "default_scale: small\nscales: {{small: {{}}, large: {{train.steps: 9}}}}\n"
    chain.write(tmp_path, chain.STUDY + scales)
    found = plan(tmp_path, chain.OTHER + scales, "other", scale="large")
    assert named(found, "models lr=0.05 s0").config["train"]["steps"] == 9
    assert named(found, "models lr=0.05 s0").study == "chain@large"
    smoke = plan(tmp_path, chain.OTHER + scales, "other", smoke=True)
    assert named(smoke, "models lr=0.05 s0").config["train"]["steps"] == 2
    assert named(smoke, "models lr=0.05 s0").study == "chain@smoke"


# ---- what is wrong

WRONG = {
    "{part: model, lr: 0.05}": 'init.part: no part model, did you mean "models"?',
    "{part: [models]}": 'init.part: no part ["models"], did you mean "models"?',
    "{part: models, lrr: 0.05}": 'init.lrr: the part models has no axis lrr, did you mean "lr"?',
    "{part: models, lr: 0.06}": "init.lr: 0.06 is not among the levels of lr, 0.05, 0.1, did you mean",
    "{part: models, arm: lr=0.5}": 'init.arm: the part models has no arm lr=0.5, did you mean "lr=0.05"?',
    "{part: models, arm: baseline, lr: 0.1}": "init.lr: arm already names the levels: leave out lr",
    "{shape: long, from: tuned}": "init: the design of the part tuned has no arm shape=long from=tuned",
    "{study: chian, part: models}": 'init.study: no study "chian" in studies/, did you mean "chain"?',
    "{study: other}": "init.study: no study",
    "{part: models, scale: gpu}": "init.scale: the study chain has no scale gpu: it has none",
    "{part: models, seed: -1}": "init.seed: -1 is no seed",
    "{part: tuned, from: tuned}": "init: goes round in a circle: tuned from=tuned -> tuned from=tuned",
    "trial:0123456789ab": "init: name the arm whose weights are wanted: {part: PART, AXIS: LEVEL}",
}


@pytest.mark.parametrize("init", WRONG)
def test_what_names_no_arm_is_an_error_at_its_place(tmp_path: Path, init: str) -> None:
    text = chain.STUDY.replace(
        "tuned: {{init: {{part: tuned}}}}", f"tuned: {{{{init: {init.replace('{', '{{').replace('}', '}}')}}}}}"
    )
    with pytest.raises(StudyError) as error:
        plan(tmp_path, text)
    (problem,) = error.value.problems
    assert WRONG[init] in str(problem)
    assert problem.line == 17


def test_circles_through_the_command_line_and_through_another_study(tmp_path: Path) -> None:
    with pytest.raises(
        StudyError, match=r"--set  tuned.init: goes round in a circle: tuned baseline -> tuned baseline"
    ):
        plan(tmp_path, overrides=[("tuned.init", {"part": "tuned"})])
    back = chain.STUDY.replace("{{part: models, lr: 0.05}}", "{{study: other}}")
    chain.write(tmp_path, back)
    with pytest.raises(StudyError, match="circle: other baseline -> tuned baseline -> other baseline"):
        plan(tmp_path, chain.OTHER.replace("part: models, lr: 0.05", "part: tuned"), "other")


def test_a_wrong_arm_of_another_study_is_an_error_here(tmp_path: Path) -> None:
    chain.write(tmp_path, chain.STUDY.replace("train: {{steps: 3}}", "train: {{stps: 3}}"))
    with pytest.raises(StudyError, match=r"other.yaml:8.*chain, arm models lr=0.05: .*stps.*train.steps"):
        plan(tmp_path, chain.OTHER, "other")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("", "init: weights of deit_tiny_patch16_224, but no model is named here: it would be vit_tiny_patch16_224"),
        (
            ", model: {name: evit_deit_tiny_patch16_224}",
            "init: weights of embed_dim 12, but model.embed_dim is 192 here",
        ),
        (", model: {name: evit_deit_tiny_patch16_224, embed_dim: 12, num_heads: 2}", ""),
        (", model: {name: deit_tiny_patch16_224, embed_dim: 12, num_heads: 2, depth: 3}", ""),  # said by the trial
        (
            ", model: {name: deit_tiny_patch16_224, depth: 3}",  # the widths of timm's models are not in the config
            "init: arm from=first: weights of another size: cls_token: (1, 1, 12), ours (1, 1, 192); pos_embed",
        ),
    ],
)
def test_weights_of_another_model_than_the_arms(tmp_path: Path, model: str, message: str) -> None:
    text = f"""\
study: begun
task: classify
seeds: [0]
axes:
  from:
    baseline: alone
    values:
      alone: {{model: {{name: deit_tiny_patch16_224, embed_dim: 12, num_heads: 2}}}}
      first: {{init: {{from: alone}}{model}}}
metrics: {{top1: {{from: best, direction: max}}}}
"""
    (tmp_path / "begun.yaml").write_text(text)
    if not message:
        assert len(parser.load(tmp_path / "begun.yaml").arms("")) == 2
        return
    with pytest.raises(StudyError) as error:
        parser.load(tmp_path / "begun.yaml")
    (problem,) = error.value.problems
    assert message in str(problem)
    assert problem.line == 9
