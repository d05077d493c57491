"""Every study of the repository can be planned at each of its scales: names, options and levels all exist."""

import json

import pytest
import yaml

from studies.engine.cli.study_lookup import plan_selection
from studies.engine.planning.selection import Selection
from studies.engine.study import parser, study_files

SCALES = [  # read without checking every arm, which takes half a minute in each process that collects tests
    (name, scale)
    for name, file in study_files.names().items()
    for scale in yaml.safe_load(file.read_text(encoding="utf-8")).get("scales") or ("",)
]


@pytest.mark.parametrize(("name", "scale"), SCALES)
def test_it_can_be_planned(name, scale, tmp_path):
    plan = plan_selection(Selection(name, results=tmp_path, scale=scale or None))
    assert plan.trials
    assert len({(t.arm.part, t.arm.label, t.seed) for t in plan.trials}) == len(plan.trials)


def test_the_first_command_of_a_study_works_on_a_laptop():
    assert {parser.load(file).default_scale for file in study_files.names().values()} <= {"", "laptop", "cpu"}


def test_a_smoke_run_keeps_a_source_and_makes_it_small(tmp_path):
    trials = plan_selection(Selection("mor_vit", results=tmp_path, smoke=True, only=("part=transfer",))).selected
    sources = {dict(t.arm.coords)["start"]: t.config["source"] for t in trials}
    assert (sources["scratch"]["epochs"], sources["scratch"]["data"]["limit"]) == (0, None)
    assert (sources["transferred"]["epochs"], sources["transferred"]["data"]["limit"]) == (1, 512)


def test_results_from_before_there_was_a_source_stand(tmp_path):
    """The options came later: what was computed without them is what they say at their defaults."""
    (trial,) = plan_selection(
        Selection("mor_vit", results=tmp_path, seeds="0", only=("part=models", "model=DeiT"))
    ).selected
    old = {key: dict(getattr(trial, key)) for key in ("config", "defaults")}
    for values in old.values():
        del values["source"]
        values["data"] = {key: value for key, value in values["data"].items() if key != "labels"}
    folder = tmp_path / "trials" / "0123456789ab"
    folder.mkdir(parents=True)
    spec = {"task": trial.task, "revision": trial.revision, "seed": 0, **old}
    (folder / "spec.json").write_text(json.dumps(spec))
    (folder / "result.json").write_text("{}")
    plan = plan_selection(Selection("mor_vit", results=tmp_path, seeds="0"))
    assert [t.arm.part for t in plan.selected if t.folder_id == folder.name] == ["models"]
