"""Options of registered data sets and losses: found by the name in their section, typed, refused with the nearest."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

from studies.engine.catalog.tasks import Task
from studies.engine.core.typing_check import Issue
from studies.engine.study.extension_options import ExtensionOptions
from studies.engine.study.settings import patch


@dataclass(frozen=True)
class Data:
    name: str = "digits"
    root: str = ""
    options: dict[str, Any] = field(default_factory=dict, metadata={"kind": "further", "of": "data_sets"})


@dataclass(frozen=True)
class Source:
    data: Data = field(default_factory=Data)


@dataclass(frozen=True)
class Config:
    data: Data = field(default_factory=Data)
    source: Source = field(default_factory=Source)
    loss: dict[str, Any] = field(default_factory=dict, metadata={"kind": "added", "of": "losses"})


OPTIONS = {"properties": {"epsilon": {"type": "number"}, "mode": {"enum": ["mean", "sum"]}}}
DESCRIPTION = {"data_sets": {"leaves": {"options": {"properties": {"view": {"type": "string"}}}}},
               "losses": {"poly1": {"options": OPTIONS}}}  # fmt: skip
DEFAULTS = {"data": {"name": "digits", "root": ""}, "source": {"data": {"name": "digits", "root": ""}}, "loss": {}}


def options() -> ExtensionOptions:
    task = SimpleNamespace(config=Config, dynvit=SimpleNamespace(description=DESCRIPTION))
    return ExtensionOptions(cast(Task, task), DEFAULTS)


def coerced(**settings: Any) -> tuple[Any, list[str]]:
    """The value of the last setting and what is wrong with it."""
    found, issues = options(), list[Issue]()
    given = patch(settings, ("base",))
    last = given[-1]
    name = found.names(given)[last.key.rpartition(".")[0]]
    return found.coerce(last, name, issues), [issue.text for issue in issues]


def test_the_sections_of_a_config() -> None:
    assert options().sections == {"data": "data_sets", "source.data": "data_sets", "loss": "losses"}
    given = patch({"data.name": "leaves", "loss": {"name": "poly1"}}, ())
    assert options().names(given) == {"data": "leaves", "source.data": "digits", "loss": "poly1"}
    assert options().registers("data", "leaves")
    assert not options().registers("data", "digits")
    assert not options().registers("train", "leaves")


def test_values_take_the_type_of_the_option() -> None:
    value, wrong = coerced(loss={"name": "poly1", "epsilon": 2})
    assert (value, type(value), wrong) == (2.0, float, [])
    assert coerced(loss={"name": "poly1", "epsilon": "two"})[1] == ['"two" is not a number']
    assert coerced(loss={"name": "poly1", "mode": "men"})[1] == ['"men" is not one of mean, sum, did you mean "mean"?']


def test_unknown_names_and_options() -> None:
    assert coerced(loss={"name": "poly"})[1] == ['no loss "poly", did you mean "poly1"?']
    assert coerced(loss={"name": "poly1", "epsilom": 2})[1] == [
        'the loss poly1 has no option epsilom, did you mean "loss.epsilon"?'
    ]
    assert coerced(loss={"name": "poly1", "weight": 2})[1] == [
        "the loss poly1 has no option weight; it takes epsilon, mode"
    ]
    assert coerced(loss={"epsilon": 2})[1] == ["loss.name is missing"]
    assert coerced(data={"name": "leaves", "veiw": ""})[1] == [
        'the data set leaves has no option veiw, did you mean "data.view"?'
    ]
    assert coerced(data={"name": "leaves", "rot": ""})[1] == [
        'the data set leaves has no option rot, did you mean "data.root"?'
    ]
