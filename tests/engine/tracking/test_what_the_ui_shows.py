"""What MLflow's own UI reads: kind and views of the experiment, source, user, data set, model, final metrics."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import made_study as made
import pytest
from mirrored_runs import client, close, history, runs

from studies.engine.results.bundle import checklist
from studies.engine.storage import inputs
from studies.engine.storage.code_snapshot import fingerprint, root
from studies.engine.storage.plan_file import read_plan
from studies.engine.storage.results_dir import Store
from studies.engine.storage.trial_folder import TrialFolder
from studies.engine.study.own_today import own_today
from studies.engine.tracking import logged_models, weights
from studies.engine.tracking.mirror import Mirror


@pytest.fixture
def store(tmp_path: Path, mlflow_database: Callable[[Path], Path]) -> Store:
    mlflow_database(tmp_path / "results")
    return Store(tmp_path / "results")


def plan_of(arms: int, seeds: int = 1) -> dict[str, Any]:
    plan = made.make_plan(seeds)
    return {**plan, "trials": plan["trials"][: arms * seeds]}


def experiment(store: Store) -> Any:
    return client(store).get_experiment_by_name("toy")


def trained(store: Store, planned: dict[str, Any], kept: str = "", **config: Any) -> TrialFolder:
    """A finished trial of a task with data and a model; kept: its weights."""
    folder = store.trial(planned["folder"])
    full = {"data": {"name": "folder", "root": "/data/leaves", "augment": {}}, "model": {"name": "sret_tiny"}, **config}
    folder.create({"schema": 1, "id": folder.id, "task": "toy", "config": full, "defaults": {}, "seed": 0})
    made.start(folder)
    made.log(folder, 1, made.START + 1, val__top1=50.0)
    made.finish(folder, made.START + 50)
    if kept:
        keep(folder, kept)
    return folder


def keep(folder: TrialFolder, text: str) -> None:
    (folder.path / "best.safetensors").write_text(text)
    result = json.loads(folder.result_file.read_text())
    folder.set_result({**result, "kept_weights": {"file": "best.safetensors", "sha256": text * 8}})


def test_the_experiment_opens_as_training_with_a_view_of_accuracy_against_cost(store: Store) -> None:
    plan = plan_of(arms=2, seeds=2)
    plan["study_text"] = "# yaml-language-server: $schema=x.json\n# Which parts pay off?\nstudy: toy\n"
    close(store, made.run_all(store, plan))
    found = experiment(store)
    assert found.tags["mlflow.experimentKind"] == "custom_model_development"
    assert found.tags["mlflow.note.content"].startswith("A toy")
    assert "```\nWhich parts pay off?\n```" in found.tags["mlflow.note.content"]
    view = json.loads(found.tags["mlflow.sharedViewState.against-cost"])
    assert (
        f"#/experiments/{found.experiment_id}/runs?workflowType=machine_learning&viewStateShareKey=against-cost"
        in found.tags["mlflow.note.content"]
    )
    state = json.loads(view["state"])
    assert state["selectedColumns"][0] == "metrics.`top1.mean`"
    charts = state["compareRunCharts"]
    drawn = [(chart["type"], chart["xaxis"]["key"], chart["yaxis"]["key"]) for chart in charts]
    assert drawn == [("SCATTER", "gflops.mean", "top1.mean"), ("SCATTER", "gflops", "top1")]
    latest = [run.data.metrics for run in runs(store).values()]
    for _, x, y in drawn:
        assert any({x, y} <= metrics.keys() for metrics in latest), "a chart without points"


def test_a_long_comment_of_a_study_is_cut(store: Store) -> None:
    """An experiment's tag takes 20 000 characters: beyond them nothing was written at all."""
    plan = plan_of(arms=1)
    plan["study_text"] = "".join(f"# {i} {'word ' * 20}\n" for i in range(300)) + plan["study_text"]
    close(store, made.run_all(store, plan))
    assert "characters, cut)" in experiment(store).tags["mlflow.note.content"]


def test_a_study_without_what_a_view_shows_has_none(store: Store) -> None:
    plan = {**plan_of(arms=1), "metrics": {"loss": {"from": "val.loss", "direction": "min", "unit": ""}}}
    close(store, made.run_all(store, plan))
    assert not [key for key in experiment(store).tags if key.startswith("mlflow.sharedViewState")]


def test_final_metrics_have_plain_names_and_no_history(store: Store) -> None:
    plan = plan_of(arms=1)
    close(store, made.run_all(store, plan))
    run = runs(store)[plan["trials"][0]["folder"]]
    expected = {"top1": 80.0, "loss": 0.5 / 3, "gflops": 0.25, "gpu_hours": 0.5, "seconds": 12.5, "params": 1234.0}
    assert {name: run.data.metrics[name] for name in expected} == pytest.approx(expected)
    assert [step for step, _, _ in history(store, run, "top1")] == [0]


def test_a_metric_that_has_the_name_of_a_curve(store: Store) -> None:
    plan = plan_of(arms=1)
    folder = made.write_plan(store, plan)
    trial = made.create(store, plan["trials"][0])
    made.start(trial)
    made.log(trial, 1, made.START + 1, top1=10.0, gflops=0.25)
    assert Mirror(store, folder).update()
    before = runs(store)[trial.id].info.run_id
    made.finish(trial, made.START + 50, top1=90.0)
    close(store, folder)
    run = runs(store)[trial.id]
    assert run.info.run_id == before
    assert [(step, value) for step, _, value in history(store, run, "top1")] == [(1, 10.0), (1, 90.0)]
    assert run.data.metrics["top1"] == 90.0, "MLflow lists the latest, which is the study's number"
    assert [step for step, _, _ in history(store, run, "gflops")] == [1], "the curve ends with the same value"


def test_a_metric_that_the_study_takes_from_elsewhere_now(store: Store) -> None:
    """MLflow shows the larger of two values at one time."""
    plan = plan_of(arms=1)
    folder = made.run_all(store, plan)
    close(store, folder)
    plan["metrics"] = {**made.METRICS, "top1": {"from": "last", "direction": "max", "unit": "%"}}
    made.write_plan(store, plan)
    close(store, folder)
    assert runs(store)[plan["trials"][0]["folder"]].data.metrics["top1"] == 79.0


def test_source_user_and_parameters_of_a_run(store: Store) -> None:
    plan = plan_of(arms=2)
    close(store, made.run_all(store, plan))
    run = runs(store)[plan["trials"][1]["folder"]]
    assert run.data.tags["mlflow.source.name"] == "studies run toy --scale laptop"
    assert run.data.tags["mlflow.source.git.commit"] == "abc1234"
    assert run.data.tags["mlflow.user"] == run.info.user_id == store.root.owner()
    assert run.data.params["axis.recursion"] == "1"


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({"scale": ""}, ""),
        ({"scale": "gpu", "overrides": ["train.lr=0.2", "data.root=my data"]},
         " --scale gpu --set train.lr=0.2 --set 'data.root=my data'"),
    ],
)  # fmt: skip
def test_the_command_of_a_run_runs_it_again(store: Store, changes: dict[str, Any], options: str) -> None:
    plan = plan_of(arms=1) | changes
    close(store, made.run_all(store, plan))
    assert {run.data.tags["mlflow.source.name"] for run in runs(store).values()} == {f"studies run toy{options}"}


@pytest.mark.parametrize(
    ("label", "scale", "smoke"),
    [
        ("", "laptop", False),
        ("smoke", "laptop", True),
        ("gpu-smoke-train.lr=0.2", "gpu", True),
        ("my-gpu-smoke", "my-gpu", True),
        ("smoke", "smoke", False),
        ("gpu-smoke", "gpu-smoke", False),
        ("tag=a-smoke", "laptop", False),
        ("tag=a-smoke-b", "laptop", False),
    ],
)
def test_what_is_called_smoke_is_not_made_with_it(store: Store, label: str, scale: str, smoke: bool) -> None:
    folder = made.run_all(store, plan_of(arms=1) | {"label": label, "scale": scale})
    plan = read_plan(folder)
    assert plan.smoke == smoke
    assert ("--smoke" in checklist.options(plan)) == smoke


def test_the_data_set_of_a_trial(store: Store) -> None:
    plan = plan_of(arms=2)
    folder = made.write_plan(store, plan)
    first, second = (trained(store, planned) for planned in plan["trials"])
    env = second.attempt_folder(0) / "env.json"
    env.write_text(json.dumps({**json.loads(env.read_text()), "inputs": {"data.root": {"listing": "cafe"}}}))
    close(store, folder)
    assert Mirror(store, folder).sync()
    for trial, digest in ((first, "settings-"), (second, "cafe")):
        [used] = runs(store)[trial.id].inputs.dataset_inputs
        assert (used.dataset.name, json.loads(used.dataset.source)) == ("folder leaves", {"uri": "/data/leaves"})
        assert used.dataset.digest.startswith(digest)
        assert [(tag.key, tag.value) for tag in used.tags] == [("mlflow.data.context", "training")]


def models(store: Store) -> list[Any]:
    return list(client(store).search_logged_models([experiment(store).experiment_id]))


def test_kept_weights_are_a_logged_model(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(arms=2)
    folder = made.write_plan(store, plan)
    first, second = (
        trained(store, planned, text) for planned, text in zip(plan["trials"], ("small", "larger"), strict=True)
    )
    monkeypatch.setattr(weights, "UPLOAD_LIMIT", 5)
    close(store, folder)
    assert Mirror(store, folder).sync()
    found = {model.tags["trial_id"]: model for model in models(store)}
    assert found.keys() == {first.id, second.id}
    for trial, text in ((first, "small"), (second, "larger")):
        model, run = found[trial.id], runs(store)[trial.id]
        assert (model.name, str(model.status), model.source_run_id) == ("sret_tiny", "READY", run.info.run_id)
        assert Path(model.tags["weights"]).read_text() == text
        assert model.tags["load"] == f"dynvit.load_trial({str(trial.path.resolve())!r})"
        assert model.params == {"name": "sret_tiny"}
        assert {metric.key: metric.value for metric in model.metrics}["top1"] == 90.0
        assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id]
    copied = {trial: client(store).list_logged_model_artifacts(model.model_id) for trial, model in found.items()}
    assert [file.path for file in copied[first.id]] == ["best.safetensors"]
    assert copied[second.id] == [], "too large: it stays where it is"


def test_other_weights_replace_a_model_and_an_interrupted_one_is_completed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(arms=1)
    folder = made.write_plan(store, plan)
    trial = trained(store, plan["trials"][0], "a")
    with monkeypatch.context() as killed:
        killed.setattr(logged_models.LoggedModels, "_complete", lambda *_: 1 / 0)
        assert not Mirror(store, folder).close()
    close(store, folder)
    [model] = models(store)
    assert str(model.status) == "READY"
    keep(trial, "b")
    made.finish(trial, made.START + 70)
    keep(trial, "b")
    close(store, folder)
    [other] = models(store)
    assert (other.model_id == model.model_id, other.tags["sha256"]) == (False, "b" * 8)


def test_runs_say_whether_they_are_stale_or_removed(store: Store) -> None:
    plan = plan_of(arms=2)
    folder = made.run_all(store, plan)
    old, current = (store.trial(planned["folder"]) for planned in plan["trials"])
    env = current.attempt_folder(0) / "env.json"
    env.write_text(json.dumps({**json.loads(env.read_text()), "source": fingerprint(root())}))
    close(store, folder)
    found = runs(store)
    assert [found[trial.id].data.tags["stale"] for trial in (old, current)] == ["true", "false"]
    assert [found[trial.id].data.tags["removed"] for trial in (old, current)] == ["false", "false"]
    made.write_plan(store, {**plan, "trials": plan["trials"][1:]})
    assert Mirror(store, folder).sync()
    assert [runs(store)[trial.id].data.tags["removed"] for trial in (old, current)] == ["true", "false"]
    made.write_plan(store, plan)
    assert Mirror(store, folder).sync()
    assert runs(store)[old.id].data.tags["removed"] == "false"


def test_sync_marks_what_the_code_has_made_stale(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(arms=1)
    folder = made.run_all(store, plan)
    monkeypatch.setattr("studies.engine.planning.staleness.fingerprint", lambda folder: "f00d")
    close(store, folder)
    trial = plan["trials"][0]["folder"]
    assert runs(store)[trial].data.tags["stale"] == "false"
    monkeypatch.setattr("studies.engine.planning.staleness.fingerprint", lambda folder: "beef")
    assert not Mirror(store, folder).is_behind(), "an edit alone is no news"
    assert Mirror(store, folder).sync()
    assert runs(store)[trial].data.tags["stale"] == "true"


def test_an_edit_of_own_code_is_stale_in_mlflow_as_in_plan(store: Store, tmp_path: Path) -> None:
    """The task's file and what it imports, and the study's imports; the study is only read."""
    study = tmp_path / "toy.yaml"
    study.write_text("study: toy\ntask: task.py\nimports: [mine.py]\n")
    for name, text in (("task.py", "def run():\n    import near\n"), ("near.py", ""), ("mine.py", "raise ValueError")):
        (tmp_path / name).write_text(text)
    plan = {**plan_of(arms=1), "study_path": str(study)}
    folder = made.run_all(store, plan)
    trial = store.trial(plan["trials"][0]["folder"])
    own = own_today(read_plan(folder))
    assert own is not None and list(own.digests) == ["mine.py", "near.py", "task.py"]
    env = trial.attempt_folder(0) / "env.json"
    env.write_text(json.dumps({"source": fingerprint(root()), "own": own.record}))

    def tag() -> str:
        assert Mirror(store, folder).sync()
        return str(runs(store)[trial.id].data.tags["stale"])

    assert tag() == "false"
    for name in own.digests:
        before = (tmp_path / name).read_text()
        (tmp_path / name).write_text(f"{before}\n")
        assert tag() == "true", name
        (tmp_path / name).write_text(before)
        assert tag() == "false", name
    (tmp_path / "mine.py").write_text("(")
    assert tag() == "false", "what cannot be read is not compared, as where the study's folder is gone"


def test_a_changed_data_set_is_stale_in_mlflow_as_in_plan(store: Store, tmp_path: Path) -> None:
    plan = plan_of(arms=1)
    folder, data = made.write_plan(store, plan), tmp_path / "data"
    data.mkdir()
    (data / "a.png").touch()
    trial = trained(store, plan["trials"][0])
    spec = json.loads(trial.spec_file.read_text())
    trial.spec_file.write_text(json.dumps({**spec, "inputs": {"data.root": str(data)}}))
    env = {"source": fingerprint(root()), "inputs": {"data.root": inputs.describe(data)}}
    (trial.attempt_folder(0) / "env.json").write_text(json.dumps(env))
    close(store, folder)
    assert runs(store)[trial.id].data.tags["stale"] == "false"
    (data / "b.png").touch()
    assert Mirror(store, folder).sync()
    assert runs(store)[trial.id].data.tags["stale"] == "true"


def test_a_store_of_an_earlier_version_is_brought_up_to_date(store: Store) -> None:
    """Of that version: one parent with a section of means per arm, no final metrics, `attempts`, no version."""
    plan = plan_of(arms=1, seeds=2)
    folder = made.run_all(store, plan)
    made_by = client(store)
    number = made_by.create_experiment("toy", artifact_location=str(store.root / "mlartifacts" / "toy"))
    parent = made_by.create_run(number, 0, {"kind": "study", "study": "toy", "aggregates": "1 abc"}).info.run_id
    made_by.log_metric(parent, "sret/baseline/top1.mean", 80.0)
    first = plan["trials"][0]["folder"]
    tags = {"kind": "trial", "trial_id": first, "attempts": "1", "mlflow.parentRunId": parent}
    run = made_by.create_run(number, 0, tags).info.run_id
    known = {"run": run, "digest": "d", "offset": 0, "stamp": "s"}
    state = {"uri": f"sqlite:///{store.root / 'mlflow.db'}", "parent": {"run": parent}, "trials": {first: known}}
    (folder / ".mirror.json").write_text(
        json.dumps({**state, "database": [(store.root / "mlflow.db").stat().st_ino, 1]})
    )
    close(store, folder)
    found = runs(store)
    assert not [name for each in found.values() for name in each.data.metrics if "/" in name]
    assert found[first].info.run_id == run, "links to trials stay valid"
    assert found[first].data.metrics["top1"] == 80.0
    assert "attempts" not in found[first].data.tags
    assert found[first].data.tags["mlflow.parentRunId"] == found["sret/baseline"].info.run_id
    assert experiment(store).tags["mlflow.experimentKind"] == "custom_model_development"


def test_an_arm_that_has_one_seed_left_has_no_run(store: Store) -> None:
    plan = plan_of(arms=1, seeds=2)
    folder = made.run_all(store, plan)
    close(store, folder)
    assert "sret/baseline" in runs(store)
    made.write_plan(store, {**plan, "trials": plan["trials"][:1]})
    assert Mirror(store, folder).sync()
    left = runs(store)
    assert "sret/baseline" not in left
    assert "mlflow.parentRunId" not in left[plan["trials"][0]["folder"]].data.tags
