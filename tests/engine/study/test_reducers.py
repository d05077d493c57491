"""`reducer:` beside `model:`, and axes over options that not every model or reducer has."""

from __future__ import annotations

from pathlib import Path

import pytest
import study_text
from click.testing import CliRunner

from studies.engine.cli.main import cli
from studies.engine.core.config import get
from studies.engine.core.errors import StudyError
from studies.engine.planning.identity import reusable
from studies.engine.study.arms import ResolvedArm
from studies.engine.study.parser import load
from studies.engine.study.starts import Starts

STUDY = """\
study: small
task: classify
seeds: [0]
base:
  model: {name: deit_tiny_patch16_224, patch_size: 4, embed_dim: 32, depth: 4, num_heads: 2}
  train: {epochs: 0}
  init: weights.pth
axes:
  reducer: {key: reducer.name, values: {none: "", tome: tome, topk: topk, random: random}, baseline: none}
  keep: {key: reducer.keep, values: [0.7, 0.5], baseline: 0.7}
design: [{grid: [reducer, keep]}]
metrics: {top1: {from: last}}
"""
METHODS = """\
study: small
task: classify
seeds: [0]
base: {model: {patch_size: 4, embed_dim: 32, depth: 4, num_heads: 2}}
axes:
  method: {values: {deit: {model.name: deit_tiny_patch16_224}, evit: {model: {name: evit_deit_tiny_patch16_224,
    locations: [1]}}}, baseline: deit}
  rate: {key: model.keep_rate, values: [0.7, 0.5], baseline: 0.7}
design: [{grid: [method, rate]}]
metrics: {top1: {from: last}}
"""
ARMS = [
    "baseline",
    "reducer=tome",
    "reducer=topk",
    "reducer=topk keep=0.5",
    "reducer=random",
    "reducer=random keep=0.5",
]


def arms(folder: Path, text: str = STUDY) -> dict[str, ResolvedArm]:
    return {arm.point.label: arm for arm in load(study_text.write(folder, text)).arms("")}


def test_an_axis_applies_to_the_arms_that_have_its_option(tmp_path: Path) -> None:
    found = arms(tmp_path)
    assert [*found] == ARMS
    assert dict(found["reducer=tome"].point.coords) == {"reducer": "tome", "keep": None}
    whole = {"name": "tome", "r": 8, "inflect": 0.0, "proportional": True, "target_gmacs": None}
    assert get(found["reducer=tome"].config, "reducer") == whole
    assert get(found["reducer=topk keep=0.5"].config, "reducer.keep") == 0.5
    assert not any(arm.issues for arm in found.values())


@pytest.mark.parametrize("only", ["", ", only: {method: evit}"])
def test_so_it_does_for_options_of_models(tmp_path: Path, only: str) -> None:
    found = arms(tmp_path, METHODS.replace("baseline: 0.7}", f"baseline: 0.7{only}}}"))
    assert [*found] == ["baseline", "method=evit", "method=evit rate=0.5"]
    assert "keep_rate" not in found["baseline"].config["model"]
    assert found["method=evit"].config["model"]["keep_rate"] == 0.7


def test_a_config_without_reducer_is_what_it_was(tmp_path: Path) -> None:
    """The key is not there, so ids stay; and no trial without reducer is taken for one with it, or the reverse."""
    found = arms(tmp_path)
    none, tome = found["baseline"], found["reducer=tome"]
    assert "reducer" not in none.config
    assert not reusable({"config": none.config, "defaults": none.defaults}, tome.config, tome.defaults)
    assert not reusable({"config": tome.config, "defaults": tome.defaults}, none.config, none.defaults)
    older = {**tome.config, "reducer": {k: v for k, v in tome.config["reducer"].items() if k != "inflect"}}
    assert reusable({"config": older, "defaults": {}}, tome.config, tome.defaults)  # from before that option existed


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("tome: tome", "tome: tomme", '9:57  axes.reducer.values.tome: no reducer tomme, did you mean "tome"?'),
        ("r.keep", "r.kep", '10:15  axes.keep.key: random has no option kep, did you mean "reducer.keep"?'),
        ("init:", "reducer.keep: 1\n  init:", "7:3  base.reducer.keep: reducer.keep is set, and no reducer is named"),
        ("0.5]", "5]", "axes.keep.values[1]: arm reducer=topk keep=5: topk cannot be applied: keep must be a share"),
        ("grid: [reducer, keep]", "arms: [{reducer: tome, keep: 0.5}]", "design[0].arms[0].keep: keep is inert there"),
        ("grid:", "one_at_a_time:", "keep is inert at the baseline, so it would never vary"),
        ("deit_tiny_patch16_224, patch_size: 4, embed_dim: 32, depth: 4, num_heads: 2", "resnet18",
         "9:57  axes.reducer.values.tome: arm reducer=tome: tome cannot be applied: tome takes a timm "),
    ],
)  # fmt: skip
def test_mistakes_are_found_where_they_are(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(StudyError) as error:
        arms(tmp_path, STUDY.replace(old, new))
    assert message in str(error.value)


def test_plan_says_where_an_axis_does_not_act(tmp_path: Path) -> None:
    file = study_text.write(tmp_path, STUDY)
    printed = CliRunner().invoke(cli, ["plan", str(file), "--results", str(tmp_path / "results")]).output
    assert "inert     small keep: no such option in baseline, reducer=tome\n" in printed


@pytest.mark.parametrize(("wanted", "arm"), [("reducer: tome", "reducer=tome"), ("part: small", "baseline")])
def test_an_arm_is_named_without_the_axes_that_are_inert_there(tmp_path: Path, wanted: str, arm: str) -> None:
    text = STUDY.replace(
        "axes:\n", f"axes:\n  tune: {{values: {{off: {{}}, on: {{init: {{{wanted}}}}}}}, baseline: off}}\n"
    )
    text = text.replace("design: [", "design: [{arms: [{tune: on}]}, ")
    starts = Starts(load(study_text.write(tmp_path, text)), "")
    assert starts.of(("small", "tune=on"))["init"].key == ("small", arm)


def test_an_axis_that_is_inert_for_want_of_an_option_names_no_arm(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"7:25  base.init.keep: keep is inert there"):
        arms(tmp_path, STUDY.replace("init: weights.pth", "init: {reducer: tome, keep: 0.5}"))
