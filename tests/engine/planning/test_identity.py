"""Trial ids and the reuse rule, as laws."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from studies.engine.core.config import canonical_json, digest, flat
from studies.engine.planning.identity import reusable, trial_id
from studies.engine.planning.trial_index import TrialIndex

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3)
)
VALUES = SCALARS | st.lists(SCALARS, max_size=3)
KEYS = st.sampled_from(["a", "b", "c", "lr", "depth", "name"])
CONFIGS = st.dictionaries(KEYS, VALUES | st.dictionaries(KEYS, VALUES, min_size=1, max_size=3), min_size=1, max_size=5)


def turned(value: Any) -> Any:
    """The same mapping with its keys in the other order."""
    return {k: turned(v) for k, v in reversed(value.items())} if isinstance(value, dict) else value


def changed(config: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """The config with one dotted key at another value."""
    other = copy.deepcopy(config)
    inner, steps = other, key.split(".")
    for step in steps[:-1]:
        inner = inner[step]
    inner[steps[-1]] = value
    return other


def test_the_id_of_a_known_trial_never_moves() -> None:
    config = {"model": {"name": "sret_tiny", "groups": [[8, 2], [4, 1]]}, "train": {"lr": 1e-3}}
    whole = {"task": "classify", "revision": 1, "seed": 0, "config": config}
    assert trial_id("classify", 1, config, 0) == digest(canonical_json(whole))[:12] == "2a21bfdbd7f2"


@given(CONFIGS, st.integers(0, 9))
def test_the_id_does_not_depend_on_key_order_nor_on_a_trip_through_json(config: dict[str, Any], seed: int) -> None:
    expected = trial_id("t", 1, config, seed)
    assert trial_id("t", 1, turned(config), seed) == expected
    assert trial_id("t", 1, json.loads(json.dumps(config)), seed) == expected
    assert len(expected) == 12
    assert set(expected) <= set("0123456789abcdef")


@given(CONFIGS, st.data())
def test_the_id_changes_with_every_value(config: dict[str, Any], data: st.DataObject) -> None:
    key = data.draw(st.sampled_from([k for k, _ in flat(config)]))
    value = data.draw(VALUES)
    other = changed(config, key, value)
    assume(canonical_json(other) != canonical_json(config))
    assert trial_id("t", 1, other, 0) != trial_id("t", 1, config, 0)


def test_the_id_changes_with_task_revision_and_seed() -> None:
    ids = [trial_id("t", 1, {}, 0), trial_id("u", 1, {}, 0), trial_id("t", 2, {}, 0), trial_id("t", 1, {}, 1)]
    assert len(set(ids)) == 4


def test_a_config_that_json_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"lr": float("nan")})


# ---- reuse


@given(CONFIGS)
def test_reuse_is_reflexive(config: dict[str, Any]) -> None:
    assert reusable({"config": config, "defaults": config}, config, config)


@given(CONFIGS, st.data())
def test_reuse_never_joins_differing_values(config: dict[str, Any], data: st.DataObject) -> None:
    key = data.draw(st.sampled_from([k for k, _ in flat(config)]))
    other = changed(config, key, data.draw(VALUES))
    assume(canonical_json(other) != canonical_json(config))
    for defaults in (config, other, {}):
        assert not reusable({"config": other, "defaults": defaults}, config, defaults)


OLD = {"config": {"lr": 0.1, "model": {"name": "m"}}, "defaults": {"lr": 0.1, "model": {"name": "m"}}}


@pytest.mark.parametrize(
    ("config", "defaults", "stands"),
    [
        ({"lr": 0.1, "model": {"name": "m", "new": 1}}, {"lr": 0.1, "model": {"name": "m", "new": 1}}, True),
        ({"lr": 0.1, "model": {"name": "m", "new": 2}}, {"lr": 0.1, "model": {"name": "m", "new": 1}}, False),
        ({"lr": 0.2, "model": {"name": "m"}}, {"lr": 0.2, "model": {"name": "m"}}, False),  # a changed default
        ({"lr": 0.1, "model": {"name": "n"}}, {"lr": 0.1, "model": {"name": "n"}}, False),
        ({"lr": 0.1}, {"lr": 0.1}, True),  # an option that went, and was at its default
    ],
)
def test_a_new_option_keeps_old_results_and_a_changed_default_does_not(
    config: dict[str, Any], defaults: dict[str, Any], stands: bool
) -> None:
    assert reusable(OLD, config, defaults) is stands


def spec(
    config: dict[str, Any], defaults: dict[str, Any] | None = None, seed: int = 0, revision: int = 1
) -> dict[str, Any]:
    return {
        "task": "/somewhere/t.py",
        "revision": revision,
        "seed": seed,
        "config": config,
        "defaults": defaults or config,
    }


def test_the_index_finds_what_the_rule_allows_and_nothing_else() -> None:
    old = {"model": {"name": "m"}, "lr": 0.1}
    index = TrialIndex(
        [("aaa", spec(old)), ("bbb", spec(old, seed=1)), ("ccc", {"damaged": 1}), ("ddd", spec(old, revision=2))]
    )
    new = {"model": {"name": "m", "depth": 4}, "lr": 0.1}
    assert index.find("t.py", 1, 0, new, new) == "aaa"
    assert index.find("t.py", 1, 1, new, new) == "bbb"
    assert index.find("t.py", 1, 2, new, new) is None
    assert index.find("u.py", 1, 0, new, new) is None
    assert index.find("t.py", 3, 0, new, new) is None
    assert index.find("t.py", 1, 0, {**new, "lr": 0.2}, new) is None
    assert index.find("t.py", 1, 0, {**new, "model": {"name": "m", "depth": 5}}, new) is None


def test_a_default_that_has_moved_since_it_came_is_not_taken_for_the_old_behaviour() -> None:
    """depth came with default 4 and became 6: a trial from before it existed is one of depth 4."""
    before = spec({"model": {"name": "m"}})
    between = spec({"model": {"name": "m", "depth": 4}})
    other_model = spec({"model": {"name": "n", "depth": 4}})
    today = {"model": {"name": "m", "depth": 6}}
    assert TrialIndex([("old", before), ("mid", between)]).find("t.py", 1, 0, today, today) is None
    assert TrialIndex([("old", before), ("mid", other_model)]).find("t.py", 1, 0, today, today) == "old"


@given(st.lists(CONFIGS, max_size=6), CONFIGS, CONFIGS)
def test_the_index_agrees_with_the_rule(
    olds: list[dict[str, Any]], config: dict[str, Any], defaults: dict[str, Any]
) -> None:
    specs = [(str(i), spec(old)) for i, old in enumerate(olds)]
    found = TrialIndex(specs).find("t.py", 1, 0, config, defaults)
    if found is not None:
        assert reusable(spec(olds[int(found)]), config, defaults)
