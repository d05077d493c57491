"""Recipes: their files, their place below a study's own settings, and every one of them trained, killed and resumed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import recipe_study
from click.testing import CliRunner

from studies.engine.catalog.models import find_model
from studies.engine.catalog.tasks import load_task
from studies.engine.cli.commands.recipes import command
from studies.engine.cli.main import cli
from studies.engine.cli.plan_report import plan_notes
from studies.engine.core.config import flat
from studies.engine.core.errors import StudyError
from studies.engine.planning.plan import make_plan
from studies.engine.storage.results_dir import Store
from studies.engine.study import parser, recipes
from studies.engine.study.resolver import Resolver
from studies.engine.study.settings import patch

ROOT = Path(__file__).parents[3]
MODELS = {
    "deit": "deit_tiny_patch16_224",
    "evo_vit": "evo_deit_tiny_patch16_224",
    "levit": "levit_128s",
    "evo_levit": "evo_levit_128s",
    "sret": "sret_tiny",
    "dynamic_vit": "dynamicvit_deit_small_patch16_224",
    "evit": "evit_deit_tiny_patch16_224",
    "a_vit": "avit_deit_tiny_patch16_224",
    "edge_recvit": "edge_recvit_tiny_patch16_224",
    "mor_vit_cifar": "mor_vit_base_patch16_224",
    "tpc_vit": "tpc_deit_tiny_patch16_224",
    "lv_vit": "lvvit_small",
}


OPTIONS: dict[str, dict[str, Any]] = {
    "dynamic_vit": {
        "keep_ratio": 0.7, "predictor_eps": 1e-5, "ratio_weight": 2.0, "distill_weight": 0.5, "token_weight": 0.5,
        "freeze_epochs": 5, "trunk_scale": 0.01,
    },
    "evit": {"keep_rate": 0.7, "fuse_token": True, "locations": [3, 6, 9], "shrink_start": 10, "shrink_epochs": 100},
    "evo_vit": {"keep_ratio": 0.5, "prune_from": 4, "switch_epoch": 200},
    "evo_levit": {"keep_ratio": 0.5, "switch_epoch": 200},
    "a_vit": {"gate_scale": 10.0, "gate_center": 30.0, "eps": 0.01},
    "lv_vit": {"w_dense": 1.0, "mix_token": True},
}  # fmt: skip
"""What the sources say of the models' own options (papers and official code), wherever a recipe or a default sets it.
Those of DeiT and LeViT have none; no option of MoR-ViT, TPC-ViT, Edge-RecViT and SReT is part of a recipe's source."""


def resolved(settings: dict[str, Any]) -> dict[str, Any]:
    return Resolver(load_task("classify")).resolve(patch(settings, ("base",))).config


# ---- files


def test_every_recipe_is_tried_here() -> None:
    assert sorted(MODELS) == recipes.names()
    assert all(f"recipe: {name}," in recipe_study.STUDY or f"recipe: {name}\n" in recipe_study.STUDY for name in MODELS)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_recipe_fits_the_task_and_its_model(name: str) -> None:
    resolver = Resolver(load_task("classify"))
    config, _, issues, _ = resolver.resolve(patch({"recipe": name, "model.name": MODELS[name]}, ("base",)))
    assert [issue.text for _, issue in issues] == []
    assert resolver.task.check([config])[0].refusal is None
    assert recipes.overridden(config, name) == []
    found = recipes.find(name)
    assert found.source
    assert config["recipe"] == name
    known = set(resolver.keys) | set(found.flat())
    for key in found.theirs:  # a dotted key is one of ours, or its branch
        assert "." not in key or any(k == key or k.startswith(f"{key}.") for k in known), key


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_every_model_option_of_the_source_is_set(name: str) -> None:
    model = find_model(MODELS[name])
    assert model is not None
    options = {**model.defaults(), **resolved({"recipe": name, "model.name": MODELS[name]})["model"]}
    assert {key: options[key] for key in OPTIONS[name]} == OPTIONS[name]


def test_the_document_is_made_from_the_files() -> None:
    """After a change: python -m studies recipes --markdown > docs/recipes.md"""
    made = CliRunner().invoke(command, ["--markdown"], standalone_mode=False)
    assert made.output == (ROOT / "docs/recipes.md").read_text(encoding="utf-8")
    for name in recipes.names():
        for key, ours, theirs in recipes.rows(recipes.find(name)):
            assert f"| {key} | {ours} | {theirs} |" in made.output


def test_the_verb_shows_one_and_knows_the_nearest() -> None:
    shown = CliRunner().invoke(command, ["evo_vit"], standalone_mode=False).output
    assert "model.switch_epoch" in shown
    assert "issue 10" in shown
    wrong = CliRunner().invoke(command, ["evo_vot"], standalone_mode=False)
    assert 'no recipe evo_vot, did you mean "evo_vit"?' in str(wrong.exception)


# ---- in studies


def test_a_studys_own_settings_stand_above_wherever_they_stand() -> None:
    config = resolved({"train.epochs": 7, "recipe": "deit", "data.augment.repeats": 1})
    assert (config["train"]["epochs"], config["train"]["mix"]["mixup"]) == (7, 0.8)
    assert config["data"]["augment"] == {
        **resolved({})["data"]["augment"], "flip": True, "scale": [0.08, 1.0], "auto": "rand-m9-mstd0.5-inc1",
        "erasing": 0.25, "repeats": 1,
    }  # fmt: skip
    assert recipes.overridden(config, "deit") == ["train.epochs 7", "data.augment.repeats 1"]


def test_no_recipe_changes_nothing() -> None:
    assert resolved({"recipe": ""}) == resolved({})
    resolver = Resolver(load_task("classify"))
    whole = {key: value for key, value in flat(resolver.task_defaults) if key not in resolver.added}
    assert dict(flat({**resolved({}), "reducer": {"name": ""}})) == whole


def test_a_key_that_was_added_is_there_where_it_is_not_at_its_default() -> None:
    assert resolved({"data.choose": 0, "data.shuffle_labels": False}) == resolved({})
    chosen = resolved({"data.choose": 5})["data"]
    assert chosen["choose"] == 5 and "shuffle_labels" not in chosen and "choose" not in resolved({})["data"]
    evo = {"model.name": "evo_deit_tiny_patch16_224"}
    assert resolved({**evo, "model.ranking": "class"}) == resolved(evo) and "ranking" not in resolved(evo)["model"]
    assert resolved({**evo, "model.ranking": "random"})["model"] == {**resolved(evo)["model"], "ranking": "random"}


def study(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "s.yaml"
    file.write_text(f"study: s\ntask: classify\nseeds: [0]\n{text}")
    return file


@pytest.fixture
def data_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder that `data.name: folder` stands for without a root."""
    for split in ("train", "val"):
        (tmp_path / "folder" / split).mkdir(parents=True)
    monkeypatch.setenv("DYNVIT_DATA", str(tmp_path))


@pytest.mark.usefixtures("data_here")
def test_recipes_as_levels_of_an_axis(tmp_path: Path) -> None:
    file = study(
        tmp_path,
        "base: {data.name: folder, model.name: deit_tiny_patch16_224, train.batch_size: 256}\n"
        "axes: {recipe: {key: recipe, values: [deit, lv_vit], baseline: deit}}\n",
    )
    plan = make_plan(parser.load(file), Store(tmp_path))
    one, other = (trial.config for trial in plan.trials)
    assert (one["train"]["lr"], other["train"]["lr"]) == (5e-4, 1.6e-3)
    assert one["train"]["batch_size"] == other["train"]["batch_size"] == 256
    assert plan_notes(plan) == [
        "recipe    deit: DeiT, 300 epochs from scratch, but train.batch_size 256",
        "recipe    lv_vit: LV-ViT, 300 epochs from scratch, token labelling, but train.batch_size 256",
    ]


@pytest.mark.usefixtures("data_here")
def test_warnings_before_a_launch(tmp_path: Path) -> None:
    model = "data.name: folder, model.name: dynamicvit_deit_small_patch16_224"
    text = f"base: {{recipe: dynamic_vit, {model}, train.batch_size: 64}}\n"
    plan = make_plan(parser.load(study(tmp_path, text)), Store(tmp_path))
    (line,) = [line for line in plan_notes(plan) if line.startswith("warning")]
    assert "meant for batches of 1024, train.batch_size is 64: linear scaling would give 6.25e-05" in line
    assert line.endswith("[s baseline]")


def test_a_folder_that_is_not_here(tmp_path: Path) -> None:
    file = study(
        tmp_path, f"base: {{data: {{name: folder, root: {tmp_path}/none}}, model.name: vit_tiny_patch16_224}}\n"
    )
    (line,) = plan_notes(make_plan(parser.load(file), Store(tmp_path)))
    assert line.startswith(
        f"warning   data.root: no folder {tmp_path}/none for the data set folder; it must be where the trials run"
    )
    assert f"{file}:" in line or f"{file.name}:" in line  # the line that asks for it


def test_weights_that_are_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = study(
        tmp_path,
        "base: {model.name: vit_tiny_patch16_224, teacher: {model.name: vit_tiny_patch16_224, checkpoint: no.pth}}\n"
        "axes:\n"
        "  from:\n"
        "    baseline: none\n"
        "    values:\n"
        "      none: {}\n"
        "      file: {init: w/deit_tny.pth}\n"
        "      official: {init: official wx/deit_tiny.pth}\n"
        "      folder: {init: w}\n"
        "      hub: {init: timm}\n"
        "      trial: {init: {from: none}}\n",
    )
    (tmp_path / "w").mkdir()
    (tmp_path / "w/deit_tiny.pth").touch()

    def notes() -> list[str]:
        return [" ".join(line.split()) for line in plan_notes(make_plan(parser.load(file), Store(tmp_path)))]

    elsewhere = "; it must be where the trials run"
    arms = "[s baseline, s from=file and 4 more]"
    found = notes()
    assert found == [
        f"warning teacher.checkpoint: no file no.pth{elsewhere} s.yaml:4:98 {arms}",
        f"warning init: no file w/deit_tny.pth, did you mean w/deit_tiny.pth?{elsewhere} s.yaml:10:20 [s from=file]",
        f"warning init: no file wx/deit_tiny.pth, did you mean w?{elsewhere} s.yaml:11:24 [s from=official]",
        "warning init: w holds none of last.safetensors, best.safetensors, ckpt/last.pt; a trial leaves them with "
        f"keep_checkpoint: true{elsewhere} s.yaml:12:22 [s from=folder]",
    ]
    for name in ("w/deit_tny.pth", "w/last.safetensors"):  # the answers of before are not reused
        (tmp_path / name).touch()
    assert notes() == [found[0], found[2]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: {recipe: diet}\n", r's\.yaml:4:16  base\.recipe: no recipe diet, did you mean "deit"\?'),
        (
            "base: {recipe: evo_vit, model.name: deit_tiny_patch16_224}\n",
            r"s\.yaml:4:16  base\.recipe: recipe evo_vit sets model\.switch_epoch: deit_tiny_patch16_224 has no option",
        ),
        (
            "base: {recipe: deit, train: {accumulate: 3}}\n",
            r"s\.yaml:4:42  base\.train\.accumulate: arm baseline: train\.batch_size 1024 is not divisible into",
        ),
    ],
)
def test_what_cannot_be(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        parser.load(study(tmp_path, text))


# ---- trained


@pytest.mark.slow
def test_every_recipe_trains_and_survives_a_kill(tmp_path: Path) -> None:
    file = recipe_study.write(tmp_path)
    calm, hunted = Store(tmp_path / "calm"), Store(tmp_path / "hunted")
    undisturbed = CliRunner().invoke(cli, ["run", str(file), "--on", "inline", "--results", str(calm.root)])
    assert undisturbed.exit_code == 0, undisturbed.output
    killed = subprocess.run(
        [sys.executable, str(Path(recipe_study.__file__)), str(file), str(hunted.root)],
        cwd=ROOT,
        env={**os.environ, "DYNVIT_WORKERS": "0", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == 0, killed.stdout[-3000:] + killed.stderr[-3000:]
    trials = make_plan(parser.load(file), calm).trials
    assert len(trials) == len(MODELS)
    for trial in trials:
        expected, found = (numbers(store, trial.folder_id) for store in (calm, hunted))
        assert expected == found, trial.arm.label
        assert [step for step, _ in found[1]] == [1, 2]


def numbers(store: Store, name: str) -> tuple[dict[str, Any], list[tuple[int, dict[str, float]]]]:
    """All but clocks."""
    folder = store.trial(name)
    result = folder.result()
    assert result is not None, (folder.attempt_folder(0) / "log.txt").read_text()
    metrics = {key: value for key, value in result["metrics"].items() if key != "images_per_second"}
    curve = [
        (event.step, {key: value for key, value in event.metrics.items() if "per_second" not in key})
        for event in folder.events()
    ]
    assert json.dumps(metrics)
    return metrics, curve
