"""Values against types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from studies.engine.core.suggest import suggest
from studies.engine.core.typing_check import Issue, to_json, validate


@dataclass(frozen=True)
class Inner:
    rate: float = 0.1
    sizes: tuple[int, ...] = (1, 2)

    def __post_init__(self) -> None:
        if self.rate > 1:
            raise ValueError("rate must not exceed 1")


@dataclass(frozen=True)
class Outer:
    mode: Literal["cycle", "none", True] = "cycle"
    inner: Inner = field(default_factory=Inner)
    share: float | str | Sequence[float] = "linear"
    pair: tuple[int, float] | None = None


def fit(kind: Any, value: Any) -> Any:
    found: list[Issue] = []
    fitted = validate(kind, value, found)
    assert found == []
    return fitted


def said(kind: Any, value: Any) -> list[str]:
    found: list[Issue] = []
    validate(kind, value, found)
    return [".".join(map(str, m.path)) + ": " + m.text for m in found]


@pytest.mark.parametrize(
    ("kind", "value", "fitted"),
    [
        (float, 1, 1.0),
        (float, -0.0, 0.0),
        (int, 2.0, 2),
        (float | None, None, None),
        (float | str | Sequence[float], 1, 1.0),
        (float | str | Sequence[float], [1, 0.5], (1.0, 0.5)),
        (list[int], [1, 2.0], [1, 2]),
        (tuple[int, float], [1, 2], (1, 2.0)),
        (bool | Literal["random"], True, True),
        (Literal[True, False, "shared"], "shared", "shared"),
        (Any, {"a": [1]}, {"a": [1]}),
    ],
)
def test_numbers_and_sequences_take_the_type_of_their_field(kind: Any, value: Any, fitted: Any) -> None:
    found = fit(kind, value)
    assert repr(found) == repr(fitted)


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (int, True, "true is not a whole number"),
        (int, 1.5, "1.5 is not a whole number"),
        (float, "1e-3", '"1e-3" is not a number'),
        (float, float("nan"), "nan is not a finite number"),
        (bool, 0, "0 is not true or false"),
        (str, None, "null is not text"),
        (Sequence[int], "12", '"12" is not a list'),
        (tuple[int, int], [1], "[1] has 1 entries, 2 are needed"),
        (int | None, "x", '"x" is not a whole number or null'),
        (Literal["cycle", "none"], "cylce", '"cylce" is not one of cycle, none, did you mean "cycle"?'),
        (Literal["1"], 1, "1 is not one of 1"),
    ],
)
def test_what_does_not_fit_is_said_in_words(kind: Any, value: Any, text: str) -> None:
    assert said(kind, value) == [f": {text}"]


def test_all_misfits_of_a_dataclass_are_found_with_their_paths() -> None:
    wrong = {"mod": 1, "mode": "cycl", "inner": {"rate": "x", "sizes": [1, "a"]}, "share": [0.5, "b"]}
    assert said(Outer, wrong) == [
        'mod: unknown key, did you mean "mode"?',
        'mode: "cycl" is not one of cycle, none, true, did you mean "cycle"?',
        'inner.rate: "x" is not a number',
        'inner.sizes.1: "a" is not a whole number',
        'share.1: "b" is not a number',
    ]


def test_a_dataclass_has_the_last_word() -> None:
    assert said(Outer, {"inner": {"rate": 2}}) == ["inner: rate must not exceed 1"]


def test_built_and_plain_are_inverse() -> None:
    built = fit(Outer, {"inner": {"sizes": [3]}, "pair": [1, 2]})
    assert built == Outer(inner=Inner(sizes=(3,)), pair=(1, 2.0))
    assert fit(Outer, to_json(built)) == built


def test_near_knows_dotted_keys_and_stays_silent_when_nothing_is_near() -> None:
    assert suggest("epochs", ["train.epochs", "model.depth"]) == ', did you mean "train.epochs"?'
    assert suggest("quite_else", ["train.epochs"]) == ""
