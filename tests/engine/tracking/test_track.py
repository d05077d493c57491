"""The mirror against real MLflow databases: what it writes, and when."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import made_study as made
import pytest
from mirrored_runs import client, close, history, runs
from scipy import stats

from studies.engine.core.trial import State
from studies.engine.storage.results_dir import Store
from studies.engine.tracking.mirror import Mirror


def test_a_trials_run_has_what_its_folder_has(store: Store, plan: dict[str, Any]) -> None:
    folder = made.run_all(store, plan)
    close(store, folder)
    found = runs(store)
    assert set(found) == {"", *(t["folder"] for t in plan["trials"])}
    planned = plan["trials"][1]
    run = found[planned["folder"]]
    tags = run.data.tags
    expected = {"trial_id": planned["folder"], "arm": "recursion=1", "part": "sret", "seed": "0", "study": "toy"}
    assert {key: tags[key] for key in expected} == expected
    assert tags["git"] == "abc1234"
    assert "mlflow.parentRunId" not in tags, "an arm with one seed has no run of its own"
    assert run.info.run_name == "sret recursion=1 s0"
    assert run.info.status == "FINISHED"
    assert run.info.start_time == round((made.START + 100) * 1000)
    assert run.info.end_time == round((made.START + 150) * 1000)
    params = run.data.params
    assert params["lr"] == "0.1"
    assert params["model.name"] == "recursion=1"
    assert params["model.groups"] == "[[8, 2], [1, 1]]"
    assert [v for k, v in params.items() if k.startswith("model.odd _key_-")] == ["null"]
    at = [round((made.START + 100 + s + 0.125) * 1000) for s in (1, 2, 3)]
    assert history(store, run, "train.loss") == [(1, at[0], 1.0), (2, at[1], 0.5), (3, at[2], 1 / 3)]
    names = {f.path for f in client(store).list_artifacts(run.info.run_id)}
    assert names == {"spec.json", "result.json", "log.txt"}
    artifacts = Path(run.info.artifact_uri.removeprefix("file://"))
    assert artifacts.is_relative_to(store.root / "mlartifacts")
    assert (artifacts / "log.txt").read_text() == "attempt 1\n"


def test_an_arms_run_holds_means_and_student_intervals(store: Store) -> None:
    folder = made.run_all(store, made.make_plan(seeds=3))
    (folder / "tables").mkdir()
    (folder / "tables" / "main.tex").write_text("table")
    (folder / "tables" / ".rendered.json").write_text("{}")
    close(store, folder)
    found = runs(store)
    parent, arm = found[""], found["sret/recursion=1"]
    values = [80 + seed + 0.1 * (3 + seed) for seed in range(3)]
    interval = stats.t.interval(0.95, 2, loc=sum(values) / 3, scale=stats.sem(values))
    metrics = arm.data.metrics
    assert metrics["top1.mean"] == pytest.approx(sum(values) / 3)
    assert metrics["top1.ci_low"] == pytest.approx(interval[0])
    assert metrics["top1.ci_high"] == pytest.approx(interval[1])
    assert metrics["top1.n"] == 3
    assert (arm.info.run_name, arm.info.status, parent.info.status) == ("sret recursion=1", "FINISHED", "FINISHED")
    assert arm.data.params == {"axis.recursion": "1"}
    assert {step for step, _, _ in history(store, arm, "top1.mean")} == {0}, "MLflow draws lines of other steps"
    assert not [name for run in found.values() for name in run.data.metrics if "/" in name], "sections of charts"
    seeds = [
        run for key, run in found.items() if run.data.tags.get("arm") == "recursion=1" and key != "sret/recursion=1"
    ]
    assert {run.data.tags["mlflow.parentRunId"] for run in seeds} == {arm.info.run_id}
    assert "mlflow.parentRunId" not in arm.data.tags
    listed = client(store)
    assert {f.path for f in listed.list_artifacts(parent.info.run_id)} == {"plan.json", "trials.csv", "tables"}
    assert [f.path for f in listed.list_artifacts(parent.info.run_id, "tables")] == ["tables/main.tex"]


def test_no_interval_below_three_seeds(store: Store) -> None:
    folder = made.run_all(store, made.make_plan(seeds=2))
    close(store, folder)
    metrics = runs(store)["mor/baseline"].data.metrics
    assert metrics["gflops.n"] == 2
    assert not [key for key in metrics if ".ci_" in key]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (State("failed", 1, started=5, ended=9, reason="ValueError: x"), "FAILED"),
        (State("stopped", 1, started=5, ended=9), "KILLED"),
        (State("running", 1, started=5, heartbeat=9), "KILLED"),  # no worker holds the claim: lost
        (State("preempted", 1, started=5), "SCHEDULED"),
    ],
)
def test_status_comes_from_the_state(store: Store, plan: dict[str, Any], state: State, expected: str) -> None:
    folder = made.write_plan(store, plan)
    trial = made.create(store, plan["trials"][0])
    made.start(trial)
    trial.set_state(state)
    close(store, folder)
    found = runs(store)
    assert set(found) == {"", trial.id}
    assert found[trial.id].info.status == expected
    if expected in ("FAILED", "KILLED"):
        assert found[trial.id].info.end_time == 9000
    assert found[trial.id].data.tags.get("reason", "").startswith(state.reason)


def test_news_is_written_and_nothing_twice(store: Store, plan: dict[str, Any]) -> None:
    folder = made.write_plan(store, plan)
    trial = made.create(store, plan["trials"][0])
    mirror = Mirror(store, folder)
    assert mirror.update()
    assert client(store).get_experiment_by_name("toy") is None, "nothing has started"
    made.start(trial)
    token = trial.acquire_lease()
    assert token
    made.log(trial, 1, made.START + 1, loss=3.0)
    with open(trial.events_file, "a") as f:
        f.write('{"t": 1790000002.0, "step": 2, "m": {"lo')  # a line being written
    assert mirror.update()
    run = runs(store)[trial.id]
    assert (run.info.status, run.info.end_time) == ("RUNNING", None)
    assert [value for _, _, value in history(store, run, "loss")] == [3.0]
    with open(trial.events_file, "a") as f:
        f.write('ss": 2.0}}\n')
    made.log(trial, 3, made.START + 3, loss=math.nan, acc=0.5)
    assert mirror.update()
    again = runs(store)[trial.id]
    assert again.info.run_id == run.info.run_id
    points = history(store, again, "loss")
    assert [step for step, _, _ in points] == [1, 2, 3]
    assert math.isnan(points[2][2])
    made.finish(trial, made.START + 60)
    trial.release_lease(token)
    assert mirror.update()
    assert runs(store)[trial.id].info.status == "FINISHED"
    offset = json.loads((folder / ".mirror.json").read_text())["trials"][trial.id]["offset"]
    assert offset == trial.events_file.stat().st_size


def test_a_failed_trial_that_runs_again_is_running_again(store: Store, plan: dict[str, Any]) -> None:
    folder = made.write_plan(store, plan)
    trial = made.create(store, plan["trials"][0])
    made.start(trial)
    made.log(trial, 1, made.START + 1, loss=3.0)
    made.fail(trial, made.START + 2)
    mirror = Mirror(store, folder)
    assert mirror.update()
    assert runs(store)[trial.id].data.tags["reason"] == "RuntimeError: no"
    trial.set_state(replace(trial.state(), status="running", attempt=2, reason=""))
    token = trial.acquire_lease()
    assert token
    assert mirror.update()
    run = runs(store)[trial.id]
    assert (run.info.status, run.data.tags.get("reason"), run.data.tags["attempt"]) == ("RUNNING", None, "2")


def test_a_trial_started_over_gets_a_new_history(store: Store) -> None:
    plan = made.make_plan(seeds=3)
    plan["trials"] = plan["trials"][:4]
    folder = made.run_all(store, plan)
    close(store, folder)
    trial = store.trial(plan["trials"][0]["folder"])
    before = runs(store)[trial.id].info.run_id
    assert trial.archive_attempt()
    made.start(trial, at=made.START + 9000, attempt=2)
    made.log(trial, 1, made.START + 9001, train__loss=0.25)
    made.finish(trial, made.START + 9002, top1=99.0)
    close(store, folder)
    found = runs(store)
    run = found[trial.id]
    assert run.info.run_id != before
    assert history(store, run, "train.loss") == [(1, round((made.START + 9001) * 1000), 0.25)]
    assert history(store, run, "val.loss") == []
    arm = found["sret/baseline"]
    means = history(store, arm, "top1.mean")
    assert [value for _, _, value in means] == [
        pytest.approx(81.1),
        pytest.approx((81.1 + 82.2) / 2),
        pytest.approx((81.1 + 82.2 + 99) / 3),
    ], "the arm forgets the old number too"
    trials = [found[planned["folder"]] for planned in plan["trials"][:3]]
    assert {trial.data.tags["mlflow.parentRunId"] for trial in trials} == {arm.info.run_id}


def test_one_run_for_a_folder_that_serves_two_arms(store: Store) -> None:
    plan = made.make_plan(seeds=1)
    plan["trials"][4]["folder"] = plan["trials"][0]["folder"]
    close(store, made.run_all(store, plan))
    found = runs(store)
    assert len(found) == 6
    run = found[plan["trials"][0]["folder"]]
    assert (run.data.tags["part"], run.data.tags["arm"]) == ("sret", "baseline")
    assert run.data.tags["also"] == f"{plan['trials'][4]['part']}/{plan['trials'][4]['arm']}"


def test_two_studies_share_a_trial_and_each_has_its_run(store: Store, plan: dict[str, Any]) -> None:
    close(store, made.run_all(store, plan))
    other = made.write_plan(store, {**plan, "label": "smoke"})
    close(store, other)
    assert set(runs(store, "toy@smoke")) == set(runs(store))


def test_more_values_than_a_batch_takes(store: Store, plan: dict[str, Any]) -> None:
    folder = made.write_plan(store, plan)
    trial = store.trial(plan["trials"][0]["folder"])
    config = {f"k{i}": "x" * 7000 if i == 0 else i for i in range(250)}
    trial.create({"schema": 1, "id": trial.id, "task": "toy", "config": config, "defaults": {}, "seed": 0})
    made.start(trial)
    for step in range(1, 1202):
        made.log(trial, step, made.START + step, loss=1 / step)
    made.finish(trial, made.START + 2000)
    close(store, folder)
    run = runs(store)[trial.id]
    assert len(history(store, run, "loss")) == 1201
    assert len(run.data.params) == 253
    assert len(run.data.params["k0"]) == 6000
    assert run.data.params["k0"].endswith(" … (7000 characters, cut)")
