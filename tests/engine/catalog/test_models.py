"""Model options as studies see them: every registered model against what Python itself says."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Optional, Union

import pytest

from studies.engine.catalog import models
from studies.engine.catalog.json_types import python_type
from studies.engine.catalog.models import Option, find_model, model_names, timm_names
from studies.engine.core.typing_check import to_json


def test_every_registered_model_has_the_options_that_python_reads() -> None:
    import dynvit
    from dynvit.registry import model_options, registered

    assert model_names() == dynvit.list_models()
    for name, (cls, preset) in registered().items():
        if not cls.__module__.startswith("dynvit."):
            continue  # registered by another test
        truth, open_ended = model_options(cls)
        model = find_model(name)
        assert model is not None, name
        assert model.ours and model.open == open_ended, name
        assert list(model.options) == list(truth), name
        defaults = {key: to_json(p.default) for key, p in truth.items() if p.default is not p.empty}
        assert {k: o.schema["default"] for k, o in model.options.items() if "default" in o.schema} == defaults, name
        assert model.preset == to_json(preset), name
        assert model.defaults() == to_json({**defaults, **preset}), name


def test_types_are_those_of_the_signature() -> None:
    model = find_model("evit_deit_tiny_patch16_224")
    assert model is not None
    kinds = {name: option.kind for name, option in model.options.items()}
    assert kinds["depth"] is int
    assert kinds["img_size"] == Union[int, tuple[int, int]]  # noqa: UP007 - made at run time
    assert kinds["keep_rate"] == Union[float, Sequence[float]]  # noqa: UP007
    assert kinds["locations"] == Sequence[int]
    assert kinds["shrink_start"] == Optional[int]  # noqa: UP045
    sret = find_model("sret_tiny")
    assert sret is not None and sret.options["nll"].kind == Literal[True, False, "shared"]


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({}, Any),
        ({"type": "null"}, None),
        ({"enum": ["a", 2, False]}, Literal["a", 2, False]),
        ({"type": "array"}, Sequence[Any]),
        ({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "number"}]}, tuple[int, float]),
        ({"type": "object"}, Mapping[str, Any]),
        ({"type": "object", "additionalProperties": {"type": "string"}}, Mapping[str, str]),
    ],
)
def test_json_schema_becomes_a_type(schema: dict[str, Any], kind: Any) -> None:
    assert python_type(schema) == kind


def test_a_default_has_the_type_of_its_option() -> None:
    schemas: dict[str, dict[str, Any]] = {
        "depth": {"type": "integer", "default": 2},
        "rate": {"type": "number", "default": 1},
        "pair": {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "number"}], "default": [1, 2]},
        "needed": {},
    }
    options = {name: Option(name, python_type(schema), schema) for name, schema in schemas.items()}
    model = models.Model("one", options, {"depth": 4}, open=True, ours=True)
    assert repr(model.defaults(without=["open"])) == repr({"depth": 4, "rate": 1.0, "pair": [1, 2.0]})


def test_timm_models_are_checked_against_their_class() -> None:
    from timm.models import Levit, SwinTransformer, VisionTransformer

    classes = {
        "deit_tiny_patch16_224": VisionTransformer,
        "swin_tiny_patch4_window7_224": SwinTransformer,
        "levit_128s": Levit,
    }
    for name, cls in classes.items():
        model = find_model(name)
        assert model is not None
        assert not model.ours
        assert list(model.options) == list(inspect.signature(cls.__init__).parameters)[1:]
        assert model.defaults() == {}
    assert find_model("deit_tiny_patch16_224.fb_in1k") is not None
    assert find_model("no_such_model") is None
    assert find_model("not a name") is None
    assert "deit_tiny_patch16_224" in timm_names()
    assert not set(timm_names()) & set(model_names())


def test_neither_torch_nor_timm_is_imported() -> None:
    code = (
        "import sys; from studies.engine.catalog.models import find_model, timm_names;"
        "assert find_model('sret_tiny') and find_model('deit_tiny_patch16_224') and timm_names();"
        "print([m for m in ('torch', 'timm', 'numpy', 'dynvit') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
