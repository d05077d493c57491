"""What a task may return, and what is read back: one rule, with the key of what does not fit."""

from __future__ import annotations

import decimal
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studies.engine.core.files import DamagedFile
from studies.engine.core.stop import StopRequest
from studies.engine.runtime import worker
from studies.engine.storage import records
from studies.engine.storage.events import read_events
from studies.engine.storage.results_dir import Store


class Item:
    """As a number of numpy or torch is."""

    def __init__(self, value: object) -> None:
        self.value = value

    def item(self) -> object:
        return self.value


def nested(depth: int) -> Any:
    return {"x": nested(depth - 1)} if depth else 1.0


ODD = {
    "metrics.best": [{"best": 5}, {"best": [1.0]}, {"best": "x"}],
    "metrics.last": [{"last": 1.0}],
    "metrics.x": [
        *(
            {"x": value}
            for value in ("12 s", 10**400, -(10**400), True, [1.0], math.nan, math.inf, -math.inf, b"1", 1j)
        ),
        *(
            {"x": value}
            for value in (Item(math.nan), Item("x"), Item(True), decimal.Decimal("NaN"), decimal.Decimal(1))
        ),
    ],
    "metrics.best.top1": [{"best": {"top1": value}} for value in ("x", math.nan, [])],
    "metrics.x.x.x": [{"x": nested(20)}],
    "metrics.1: two names": [{"1": 0.5, 1: 0.25}],
    "metrics.best.True: two names": [{"best": {"True": 1.0, True: 2.0}}],
}


@pytest.mark.parametrize(("key", "metrics"), [(key, metrics) for key, cases in ODD.items() for metrics in cases])
def test_an_odd_metric_is_refused_with_its_key(key: str, metrics: dict[str, Any]) -> None:
    with pytest.raises(TypeError) as refused:
        records.plain_result({"metrics": metrics})
    assert str(refused.value).startswith(key), refused.value
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    "cost", [{"seconds": "5 s"}, {"seconds": math.nan}, {"params": 10**400}, {"seconds": {"a": 1}}, [1], "x", 5]
)
def test_an_odd_cost_is_refused_with_its_key(cost: object) -> None:
    with pytest.raises(TypeError, match=r"^cost"):
        records.plain_result({"metrics": {}, "cost": cost})


@pytest.mark.parametrize("other", [nested(60), {1, 2}, object(), decimal.Decimal(1), "\ud800", {"a": {1: 2, "1": 3}}])
def test_what_else_a_result_holds_can_be_written_and_read(other: object) -> None:
    with pytest.raises(TypeError, match=r"^left_out: "):
        records.plain_result({"metrics": {}, "left_out": other})


def test_a_good_result_is_plain_numbers() -> None:
    metrics = {"best": {"top1": Item(90.5)}, "last": {}, "n": Item(3), "nothing": None, "deep": {"er": {"x": 1}}}
    found = records.plain_result({"metrics": metrics, "left_out": ["a"]})
    assert found["metrics"] == {"best": {"top1": 90.5}, "last": {}, "n": 3, "nothing": None, "deep": {"er": {"x": 1}}}
    assert (found["cost"], found["left_out"]) == ({}, ["a"])
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(
    "returned", ["None", "5", "{}", "{'metrics': 3}", "{'metrics': {'best': 5}}", "{'metrics': {'x': 10**400}}"]
)
def test_a_trial_with_an_odd_result_fails(returned: str, tmp_path: Path) -> None:
    task = tmp_path / "odd.py"
    task.write_text(
        "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Config:\n    n: int = 0\n"
        f"def run(config, context):\n    return {returned}\n"
    )
    folder = Store(tmp_path).trial("abc")
    folder.create({"task": str(task), "config": {}, "seed": 0})
    assert worker.run_attempt(folder, StopRequest(), inline=True) == "failed"
    assert folder.state().reason.startswith("TypeError: ")
    assert not folder.result_file.exists()


READ: dict[Callable[[Path], object], tuple[dict[str, Any], dict[str, list[Any]]]] = {
    records.read_state: (
        {"status": "running", "attempt": 1, "latest": {"loss": 1.0}},
        {
            "status": ["x", 3, None, [], {}],
            "attempt": ["x", -1, 1e300, 1.0, None],
            "latest": [[], {"a": "b"}],
            "pid": ["1"],
        },
    ),
    records.read_result: (
        {"metrics": {"best": {}}, "cost": None},
        {"metrics": [None, [], 3, {"best": 5}, {"last": "x"}], "cost": [3, {"seconds": "x"}, {"params": 10**400}]},
    ),
    records.read_spec: (
        {"task": "x", "config": {}, "seed": 0},
        {"task": [3, None], "config": [[], None, "x"], "seed": ["0", 10**30, 0.5], "study": [5]},
    ),
    records.read_environment: ({}, {"packages": [[], {"torch": 2}], "git": [3, []], "source": [3, []]}),
    records.read_checkpoints: (
        {"last": {"size": 1, "sha256": "x"}, "previous": None},
        {"last": [3, [], {"size": "x", "sha256": "x"}, {"sha256": "x"}, {"size": 1, "sha256": "x", "step": "x"}]},
    ),
}


@pytest.mark.parametrize("read", READ, ids=lambda read: read.__name__)
def test_a_value_of_another_kind_makes_the_file_damaged(read: Callable[[Path], object], tmp_path: Path) -> None:
    good, odd = READ[read]
    file = tmp_path / "file.json"
    assert read(file) is None
    file.write_text(json.dumps(good))
    assert read(file) is not None
    for key, values in odd.items():
        for value in values:
            file.write_text(json.dumps({**good, key: value}))
            with pytest.raises(DamagedFile):
                read(file)


def test_half_a_character_in_a_curve_costs_one_line(tmp_path: Path) -> None:
    """It would keep every table of the study from being written."""
    file = tmp_path / "events.jsonl"
    file.write_text(
        "".join(f'{{"t": 1, "step": {n}, "m": {{"{key}": 1}}}}\n' for n, key in enumerate(("\\ud800", "a")))
    )
    assert [event.metrics for event in read_events(file)] == [{"a": 1.0}]
