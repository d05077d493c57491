"""Model options read from source: fixture modules, then every registered model against what Python itself says."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Optional, Union

import pytest

from studies.engine.catalog import models, pysource
from studies.engine.catalog.models import REQUIRED, UNKNOWN, find_model, model_names, registered, signature, timm_names
from studies.engine.core.typing_check import to_json

PACKAGE = {
    "pack/base.py": """
WIDTHS = (32, 64)
Mode = Literal["a", "b"]
class Trunk:
    def __init__(self, img_size: int = 224, *, width: Sequence[int] = WIDTHS, mode: "Mode" = "a") -> None: ...
class Open(Trunk):
    def __init__(self, depth: int = 3, **kwargs): ...
""",
    "pack/models/one.py": """
from pack.base import Open, Trunk
from ..base import Mode as Manner, WIDTHS
from torch import nn
COMMON = {"depth": 4}
TABLE: dict[str, dict] = {"one_small": dict(COMMON, lr=-1e-3), "one_large": {**COMMON, "depth": 2 * 6}}
class One(nn.Module):
    def __init__(
        self, needed, depth: int = 2, ratio: float | str | list[float] = 0.5, pair: tuple[int, float] = (1, 2.0),
        many: Optional[Tuple[int, ...]] = None, manner: Manner = "b", act=nn.GELU, open: Union[int, "Callable"] = 3,
        lr: float = 1, **extra: int
    ) -> None: ...
class Child(Trunk):
    pass
def compute(): return {}
register(One, TABLE)
register(Child, {"child": {}})
register(Open, {"open": {"depth": 9}})
register(One, compute())
""",
}


@pytest.fixture
def module(tmp_path: Path) -> pysource.Module:
    for name, text in PACKAGE.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return pysource.read(tmp_path / "pack/models/one.py", tmp_path / "pack")


def test_tables_of_variants_are_read_where_they_are_literal(module: pysource.Module) -> None:
    assert list(registered(module)) == [
        ("One", {"one_small": {"depth": 4, "lr": -1e-3}, "one_large": {"depth": 12}}),
        ("Child", {"child": {}}),
        ("Open", {"open": {"depth": 9}}),
    ]


def test_a_signature_gives_names_types_and_defaults(module: pysource.Module) -> None:
    found, further = signature(module, "One")
    assert further
    assert {o.name: o.kind for o in found.values()} == {
        "needed": Any,
        "depth": int,
        "ratio": Union[float, str, Sequence[float]],  # noqa: UP007
        "pair": tuple[int, float],
        "many": Optional[Sequence[int]],  # noqa: UP045
        "manner": Literal["a", "b"],
        "act": Any,
        "open": Any,
        "lr": float,
    }
    defaults = {o.name: o.default for o in found.values()}
    assert defaults.pop("needed") is REQUIRED
    assert defaults.pop("act") is UNKNOWN
    assert defaults == {"depth": 2, "ratio": 0.5, "pair": (1, 2.0), "many": None, "manner": "b", "open": 3, "lr": 1}


def test_an_inherited_constructor_is_followed_through_imports(module: pysource.Module) -> None:
    found, further = signature(module, "Child")
    assert not further
    assert {o.name: (o.kind, o.default) for o in found.values()} == {
        "img_size": (int, 224),
        "width": (Sequence[int], (32, 64)),
        "mode": (Literal["a", "b"], "a"),
    }
    assert signature(module, "Open")[1]
    assert signature(module, "Elsewhere") == ({}, True)


def test_a_default_has_the_type_of_its_option(module: pysource.Module) -> None:
    found, _ = signature(module, "One")
    model = models.Model("one", Path(), found, {"depth": 4}, open=True, ours=True)
    assert repr(model.defaults(without=["open"])) == repr(
        {"depth": 4, "ratio": 0.5, "pair": [1, 2.0], "many": None, "manner": "b", "lr": 1.0}
    )


# ---- the real ones


def test_every_registered_model_is_read_as_python_reads_it() -> None:
    import timm.models

    import dynvit

    assert model_names() == dynvit.list_models()
    for name in dynvit.list_models():
        made_of = inspect.getclosurevars(timm.models.model_entrypoint(name)).nonlocals
        truth = list(inspect.signature(made_of["cls"].__init__).parameters.values())[1:]
        model = find_model(name)
        assert model is not None, name
        assert model.ours and not model.open, name
        assert list(model.options) == [p.name for p in truth], name
        assert [o.default for o in model.options.values()] == [p.default for p in truth], name
        assert model.preset == made_of["preset"], name
        merged = {p.name: p.default for p in truth} | made_of["preset"]
        assert model.defaults() == to_json(merged), name


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


def test_neither_torch_nor_timm_is_imported() -> None:
    code = (
        "import sys; from studies.engine.catalog.models import find_model, timm_names;"
        "assert find_model('sret_tiny') and find_model('deit_tiny_patch16_224') and timm_names();"
        "print([m for m in ('torch', 'timm', 'numpy', 'dynvit') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
