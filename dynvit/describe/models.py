"""Models as JSON: classes with the options of their constructors, names with the class and what the variant presets."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from typing import Any, get_type_hints

import timm
import torch
from torch import nn

import dynvit  # noqa: F401 - registers our models
from dynvit.config.extensions import Extension, place_of
from dynvit.config.model import ADDED_FIELD
from dynvit.describe.docs import field_docs, first_paragraph, mentioned, option_docs
from dynvit.describe.extensions import from_entry, with_docs
from dynvit.describe.json_schema import Schema, options_schema, plain
from dynvit.models.build import FROM_TIMM
from dynvit.plugins import origins
from dynvit.registry import model_options, registered

PROBE = "dynvit_asks_who_takes_this"


def our_models() -> dict[str, Any]:
    """Return ``{"classes": {class: ...}, "models": {name: {"class", "preset"}}}`` of this package, and of own code.

    An own model that timm alone knows has its entry point in the place of a class.
    """
    models = registered()
    classes = {place_of(cls): describe_class(cls) for cls, _ in sorted(models.values(), key=lambda m: place_of(m[0]))}
    named = {name: {"class": place_of(cls), "preset": plain(preset)} for name, (cls, preset) in models.items()}
    for name in origins("model"):
        if name not in named:
            entry_point = timm.model_entrypoint(name)
            classes[place_of(entry_point)] = _describe_entry_point(entry_point)
            named[name] = {"class": place_of(entry_point), "preset": {}}
    return {"classes": classes, "models": {name: {**m, **from_entry("model", name)} for name, m in named.items()}}


def timm_models() -> dict[str, Any]:
    """Return the same of timm's own models: the class is what an entry point is annotated to return."""
    ours, classes, models = {*registered(), *origins("model")}, {}, {}
    for name in timm.list_models():
        if name in ours:
            continue
        cls = _returned_class(timm.model_entrypoint(name))
        if cls is not None and place_of(cls) not in classes:
            classes[place_of(cls)] = describe_class(cls)
        models[name] = {"class": "" if cls is None else place_of(cls), "preset": {}}
    return {"classes": classes, "models": models}


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


def _describe_entry_point(entry_point: Any) -> dict[str, Any]:
    """Return the description of an own model's function: its arguments, and what it passes on to a class, without that
    class's defaults: the function may set others."""
    function = Extension("model", entry_point.__name__, entry_point, FROM_TIMM)
    further = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(entry_point).parameters.values())
    own = options_schema(function.options, function.hints, open_ended=further)
    docs = mentioned(inspect.getdoc(entry_point) or "", function.options)
    said = _returned_class(entry_point) if further else None
    cls = _receiver(entry_point) if further and said in (None, nn.Module) else said
    found = {"method": "", "module": first_paragraph(sys.modules[entry_point.__module__])}
    found["description"] = first_paragraph(entry_point) or (first_paragraph(cls) if cls else "")
    if cls is None:
        return {**found, "options": with_docs(own, docs)}
    inner: Schema = describe_class(cls)["options"]
    passed = {name: {k: v for k, v in item.items() if k != "default"} for name, item in inner["properties"].items()}
    options = {**inner, "properties": {**passed, **own["properties"]}, "required": own.get("required", [])}
    return {**found, "options": with_docs(options, docs)}


def _receiver(entry_point: Any) -> type[nn.Module] | None:
    """Return the class that the function passes unknown options on to: the one that refuses them."""
    try:
        with torch.device("meta"):
            entry_point(**{PROBE: None})
    except Exception as error:
        refused = re.search(rf"(\w+)\.__init__\(\) got an unexpected keyword argument '{PROBE}'", str(error))
        cls = entry_point.__globals__.get(refused[1]) if refused else None
        return cls if isinstance(cls, type) and issubclass(cls, nn.Module) else None
    return None
