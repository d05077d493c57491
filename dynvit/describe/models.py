"""Models as JSON: classes with the options of their constructors, names with the class and what the variant presets."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from typing import Any, get_type_hints

import timm
from torch import nn

import dynvit  # noqa: F401 - registers our models
from dynvit.config.model import ADDED_FIELD
from dynvit.describe.docs import field_docs, first_paragraph, option_docs
from dynvit.describe.json_schema import Schema, options_schema, plain
from dynvit.registry import model_options, registered


def our_models() -> dict[str, Any]:
    """Return ``{"classes": {class: ...}, "models": {name: {"class", "preset"}}}`` of this package."""
    models = registered()
    return {
        "classes": {key_of(cls): describe_class(cls) for cls, _ in sorted(models.values(), key=lambda m: key_of(m[0]))},
        "models": {name: {"class": key_of(cls), "preset": plain(preset)} for name, (cls, preset) in models.items()},
    }


def timm_models() -> dict[str, Any]:
    """Return the same of timm's own models: the class is what an entry point is annotated to return."""
    ours, classes, models = registered(), {}, {}
    for name in timm.list_models():
        if name in ours:
            continue
        cls = _returned_class(timm.model_entrypoint(name))
        if cls is not None and key_of(cls) not in classes:
            classes[key_of(cls)] = describe_class(cls)
        models[name] = {"class": "" if cls is None else key_of(cls), "preset": {}}
    return {"classes": classes, "models": models}


def key_of(cls: type) -> str:
    """Return the name under which a class is described."""
    return f"{cls.__module__}.{cls.__qualname__}"


def describe_class(cls: type[nn.Module]) -> dict[str, Any]:
    """Return a model class's method, the first lines of its module and class, and the schema of its options."""
    options, open_ended = model_options(cls)
    if not cls.__module__.startswith("dynvit."):  # what timm does with further keyword arguments is not ours to say
        open_ended = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(cls.__init__).parameters.values())
    schema: Schema = options_schema(options, option_hints(cls), open_ended)
    docs = option_docs(cls, options)
    for group in option_groups(cls):
        docs |= field_docs(group)
    for name in schema["properties"].keys() & docs.keys():
        schema["properties"][name]["description"] = docs[name]
    for name in getattr(cls, "added_options", ()):
        schema["properties"][name] |= {f"x-{key}": value for key, value in ADDED_FIELD.items()}
    parts = cls.__module__.split(".")
    return {
        "method": parts[2] if parts[:2] == ["dynvit", "models"] and len(parts) > 2 else "",
        "module": first_paragraph(sys.modules[cls.__module__]),
        "description": first_paragraph(cls),
        "options": schema,
    }


def option_hints(cls: type) -> dict[str, Any]:
    """Return the types of a class's options, those of base classes and of dataclass arguments included."""
    found: dict[str, Any] = {}
    for group in option_groups(cls):
        found |= get_type_hints(group)
    for base in reversed(cls.__mro__):
        found |= _hints(base.__dict__.get("__init__"))
    return found


def option_groups(cls: type) -> list[type]:
    """Return the dataclasses among the types of a class's arguments: their fields are options."""
    kinds = [kind for base in cls.__mro__ for kind in _hints(base.__dict__.get("__init__")).values()]
    return [kind for kind in kinds if isinstance(kind, type) and dataclasses.is_dataclass(kind)]


def _hints(function: Any) -> dict[str, Any]:
    """Return the annotations of a function; one that names what only a type checker imports is Any."""
    try:
        return get_type_hints(function)
    except TypeError:  # not a Python function
        return {}
    except NameError:
        hints = {}
        for name, text in function.__annotations__.items():
            try:
                hints[name] = eval(text, function.__globals__) if isinstance(text, str) else text
            except NameError:
                hints[name] = Any
        return hints


def _returned_class(entry_point: Any) -> type[nn.Module] | None:
    try:
        returned = get_type_hints(entry_point).get("return")
    except (NameError, TypeError):
        return None
    return returned if isinstance(returned, type) and issubclass(returned, nn.Module) else None
