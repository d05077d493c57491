"""JSON Schema of a study file, for editors: the study language, with the settings of each task in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from studies.engine.catalog import description
from studies.engine.catalog.dataclass_schema import Schema, schema_of
from studies.engine.core.trial import Resources
from studies.engine.study import recipes
from studies.engine.study.decide import Decide
from studies.engine.study.schema import PartSpec, ScalePartSpec, ScaleSpec, StudyFile

OPEN: Schema = {"type": "object"}
FIRST: Schema = {"type": "object", "description": "Weights of another trial: its part and levels, an arm, a study."}
OWN_TASK = r"\.py$"


def study_file_schema() -> Schema:
    """Return the schema. Settings are those of the task that the file names; of an own task (a .py file), any."""
    found = description.current().description
    tasks = found["tasks"]
    settings = {f"{name}.settings": _settings(task["config"], found) for name, task in tasks.items()}
    ways: list[Schema] = []
    for name in tasks:
        which = {"if": {"properties": {"task": {"const": name}}, "required": ["task"]}}
        ways.append({**which, "then": _study(f"{name}.settings", settings[f"{name}.settings"])})
    own: Schema = {"if": {"properties": {"task": {"pattern": OWN_TASK}}, "required": ["task"]}}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A study file of dynvit",
        "type": "object",
        "required": ["study", "task", "seeds"],
        "properties": {"task": {"anyOf": [{"enum": list(tasks)}, {"type": "string", "pattern": OWN_TASK}]}},
        "allOf": [*ways, {**own, "then": _study("", OPEN)}],
        "$defs": settings,
    }


def _study(name: str, settings: Schema) -> Schema:
    """Return the schema of a study whose settings are those of `$defs/name`."""
    whole = {"$ref": f"#/$defs/{name}"} if name else OPEN

    def merged(kind: type, more: Schema) -> Schema:
        """A mapping that holds settings besides the keys of `kind`."""
        own = {**schema_of(kind)["properties"], **more}
        if not name:
            return {"type": "object", "properties": own}
        referred = {key: {"$ref": f"#/$defs/{name}/properties/{key}"} for key in settings["properties"]}
        return {**settings, "properties": {**referred, **own}}

    def based(kind: type) -> Schema:
        schema = schema_of(kind)
        open_or_known: Schema = {"allOf": [whole]} if name else {}
        schema["properties"]["base"] |= open_or_known
        return schema

    needs = {"resources": schema_of(Resources), "decide": schema_of(Decide)}
    scale = merged(ScaleSpec, {**needs, "parts": _by_name(merged(ScalePartSpec, {}))})
    study = based(StudyFile)
    for key, schema in {**needs, "parts": _by_name(based(PartSpec)), "scales": _by_name(scale)}.items():
        study["properties"][key] |= schema
    del study["properties"]["task"]["default"]
    return study


def _by_name(schema: Schema) -> Schema:
    return {"type": "object", "additionalProperties": schema}


# ---- settings


def _settings(config: Schema, found: Mapping[str, Any]) -> Schema:
    schema = _nested(config, found)
    schema["properties"]["recipe"] = {"enum": recipes.names(), "description": "A paper's recipe, below these settings."}
    return schema


def _nested(config: Schema, found: Mapping[str, Any]) -> Schema:
    """Return what a mapping of settings may hold: keys one in another, or dotted."""
    properties: dict[str, Schema] = {}
    patterns: dict[str, Schema] = {}
    for key, item in config["properties"].items():
        properties[key] = _setting(item, found)
        for dotted, inner in _below(item, key, found):
            properties[dotted] = inner
        if item.get("x-kind") in ("model", "reducer"):
            patterns[rf"^{key}\."] = {}
    return {"type": "object", "properties": properties, "patternProperties": patterns, "additionalProperties": False}


def _below(item: Schema, key: str, found: Mapping[str, Any]) -> Iterator[tuple[str, Schema]]:
    for name, inner in item.get("properties", {}).items():
        yield f"{key}.{name}", _setting(inner, found)
        yield from _below(inner, f"{key}.{name}", found)


def _setting(item: Schema, found: Mapping[str, Any]) -> Schema:
    """Return one setting. Options of models are not limited: which there are depends on the name, which may be an
    axis; `studies plan` checks them."""
    text: Schema = {key: item[key] for key in ("description", "default") if key in item}
    match item.get("x-kind"):
        case "model":
            return {**_named(found["models"]), **text}
        case "reducer":
            return {**_named(found["reducers"]), **text}
        case "weights":
            return {"anyOf": [_plain(item), FIRST], **text}
    return {**_nested(item, found), **text} if "properties" in item else _plain(item)


def _named(known: Mapping[str, Any]) -> Schema:
    return {"type": "object", "properties": {"name": {"type": "string", "examples": list(known)}}}


def _plain(item: Schema) -> Schema:
    return {key: value for key, value in item.items() if not key.startswith("x-")}
