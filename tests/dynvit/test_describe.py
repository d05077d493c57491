"""What ``python -m dynvit.describe`` says of this package, from the real signatures."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
import timm
import torch

import dynvit
from dynvit.describe.check import _build_error, check
from dynvit.describe.docs import option_docs
from dynvit.describe.json_schema import dataclass_schema, plain, type_schema
from dynvit.describe.models import describe_class
from dynvit.registry import register
from dynvit.tasks import classify


@dataclass(frozen=True)
class Inner:
    """Nested.

    ratio: a share.
    """

    ratio: float = 0.5
    mode: Literal["a", "b"] | None = None
    """Choices,
    in two lines."""


@dataclass(frozen=True)
class Outer:
    needed: int
    inner: Inner = field(default_factory=lambda: Inner(0.25))
    net: dict[str, Any] = field(default_factory=dict, metadata={"kind": "model", "given": ("img_size",)})
    renamed: Sequence[int] = field(default=(1, 2), metadata={"key": "from"})


@pytest.mark.parametrize(
    ("kind", "schema"),
    [
        (int, {"type": "integer"}),
        (float | None, {"anyOf": [{"type": "number"}, {"type": "null"}]}),
        (Literal["a", 2], {"enum": ["a", 2]}),
        (Sequence[str], {"type": "array", "items": {"type": "string"}}),
        (tuple[int, ...], {"type": "array", "items": {"type": "integer"}}),
        (tuple[int, bool], {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "boolean"}]}),
        (list, {"type": "array"}),
        (Mapping[str, float], {"type": "object", "additionalProperties": {"type": "number"}}),
        (dict[str, Any], {"type": "object"}),
        (Callable[[int], int], {}),
        (type[torch.nn.Module] | int, {}),
        (Any, {}),
    ],
)
def test_types(kind, schema):
    assert type_schema(kind) == schema


def test_a_dataclass_with_its_defaults_and_docstrings():
    schema = dataclass_schema(Outer)
    assert schema["required"] == ["needed"] and schema["additionalProperties"] is False
    assert list(schema["properties"]) == ["needed", "inner", "net", "from"]
    inner = schema["properties"]["inner"]
    assert inner["default"] == {"ratio": 0.25, "mode": None}
    assert inner["properties"]["ratio"] == {"type": "number", "default": 0.5, "description": "a share."}
    assert inner["properties"]["mode"]["description"] == "Choices, in two lines."
    assert schema["properties"]["net"] == {"type": "object", "default": {}, "x-kind": "model", "x-given": ["img_size"]}
    assert schema["properties"]["from"]["x-name"] == "renamed"
    assert plain(Outer(1)) == {"needed": 1, "inner": {"ratio": 0.25, "mode": None}, "net": {}, "from": [1, 2]}


@dataclass(frozen=True)
class Group:
    gain: float = 1.0
    """Factor of the output."""


class Toy(torch.nn.Module):
    """A model for tests.

    width, height: sizes. mode: one word (``a: b`` is none).
    act: its activation.
    """

    def __init__(
        self,
        width: int,
        height: int = 2,
        mode: str = "a",
        act: Any = torch.nn.GELU,
        reads: str = "",
        group: Group = Group(),
    ):
        super().__init__()
        weight = torch.ones(width)
        if reads == "value":
            weight.sum().item()
        if reads == "device" and weight.device.type == "meta":
            raise RuntimeError("a kernel is missing")
        if reads == "both":
            raise ValueError("never")

    def forward(self, x):
        return x.mean((2, 3))


def test_options_of_a_class():
    options = describe_class(Toy)["options"]
    assert options["required"] == ["width"]
    assert options["properties"]["height"] == {"type": "integer", "default": 2, "description": "sizes."}
    assert "default" not in options["properties"]["act"]
    assert options["properties"]["gain"] == {"type": "number", "default": 1.0, "description": "Factor of the output."}
    assert option_docs(Toy, options["properties"])["mode"] == "one word (``a: b`` is none)."


@pytest.fixture
def toy():
    from dynvit import registry

    register(Toy, {"toy_described": {"width": 2}})
    yield "toy_described"
    registry.MODELS.pop("toy_described")
    timm.models._registry._model_entrypoints.pop("toy_described")


@pytest.mark.parametrize(("reads", "reason"), [("", ""), ("value", ""), ("device", ""), ("both", "never")])
def test_only_what_no_device_can_build_is_refused(toy, reads, reason):
    found = _build_error(json.dumps([{"name": toy, "reads": reads}, {}, {}]), 0)
    assert re.fullmatch(rf"test_describe\.py, line \d+: ValueError: {reason}" if reason else "", found)


def test_a_config_is_answered():
    config = plain(classify.Config())
    answer = check("classify", config)
    assert answer == {"refusal": None, "work": classify.work(config), "smoke": {}}
    wrong = {**config, "train": {**config["train"], "ema": 3.0}, "data": {**config["data"], "limit": 0}}
    assert check("classify", wrong) == {"refusal": "data: limit must be at least 1, got 0"}
    assert check("cost", plain(__import__("dynvit.tasks.cost", fromlist=["Config"]).Config())) == {"refusal": None}


def test_the_command_prints_everything():
    done = subprocess.run([sys.executable, "-m", "dynvit.describe"], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert {"evit_deit_tiny_patch16_224", "sret_tiny"} <= set(found["models"])
    assert {model["class"] for model in found["models"].values()} == set(found["classes"])
    assert sorted(found["reducers"]) == dynvit.list_reducers()
    for name, reducer in found["reducers"].items():
        assert reducer["description"] and "target_gmacs" in reducer["options"]["properties"], name
        assert all("default" in schema for schema in reducer["options"]["properties"].values()), name
    for name, cls in found["classes"].items():
        assert cls["method"] and cls["module"] and cls["description"], name
        for option, schema in cls["options"]["properties"].items():
            assert {"type", "enum", "anyOf"} & set(schema), (name, option)
            assert "default" in schema, (name, option)
    assert {"classify", "cost", "redundancy"} <= set(found["tasks"])
    assert all({"title", "source", "settings"} <= set(recipe) for recipe in found["recipes"].values())
