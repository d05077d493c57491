"""The options of tasks, models, reducers, recipes, launchers and files, as `studies options` lists them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from studies.engine.catalog import description, models
from studies.engine.catalog.dataclass_schema import schema_of
from studies.engine.catalog.tasks import GIVEN, task_names
from studies.engine.cli.options import UsageError
from studies.engine.core.suggest import suggest, suggest_or_list
from studies.engine.core.trial import Resources
from studies.engine.jobs.launcher import launcher_names, option_types
from studies.engine.study import recipes
from studies.engine.study.decide import Decide
from studies.engine.study.parts import Metric
from studies.engine.study.schema import AxisSpec, BlockSpec, PartSpec, ScaleSpec, StudyFile

Schema = Mapping[str, Any]


@dataclass(frozen=True)
class Option:
    name: str
    type: str
    default: str
    description: str

    @staticmethod
    def of(name: str, schema: Schema, default: Any = ...) -> Option:
        """default: instead of the schema's; ...: the schema's, if it has one."""
        value = schema.get("default", ...) if default is ... else default
        shown = "" if value is ... or isinstance(value, dict) else json.dumps(value, ensure_ascii=False)
        return Option(name, type_text(schema), shown, schema.get("description", ""))


@dataclass(frozen=True)
class Topic:
    title: str
    options: list[Option]


def type_text(schema: Schema) -> str:
    """Return a type in a few words: ``number or null``, ``linear | cosine``, ``list of integer``."""
    if "enum" in schema:
        return " | ".join(str(one) if isinstance(one, str) else json.dumps(one) for one in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(type_text(one) for one in schema["anyOf"]))
    if schema.get("type") == "array":
        inner = type_text(schema.get("items", {}))
        return f"list of {inner}" if inner != "any" else "list"
    return {"object": "mapping", "string": "text", "boolean": "true | false"}.get(
        str(schema.get("type")), str(schema.get("type", "any"))
    )


def topic(names: tuple[str, ...]) -> Topic:
    """Return what `studies options NAMES` lists. UsageError with the nearest name."""
    if not names:
        return overview()
    first, *rest = names
    if first in KINDS:
        if not rest:
            return Topic(f"{first}s; `studies options {first} NAME` lists the options of one", _named(first))
        return KINDS[first](rest[0])
    if first in FILES:
        return FILES[first]()
    if first in task_names():
        return _task(first, rest[0] if rest else "")
    if found := models.find_model(first):
        return model_topic(found)
    for kind in KINDS:
        if first in {one.name for one in _named(kind)}:
            raise UsageError(f"no options of {first}, did you mean `studies options {kind} {first}`?")
    nearest = suggest(first, [*KINDS, *FILES, *task_names()]) or models.suggest_name("model", first)
    raise UsageError(f"no options of {first}{nearest or ELSEWHERE}")


def overview() -> Topic:
    """Return everything that has options."""
    found = description.current().description
    rows = [Option(name, "task", "", task["description"]) for name, task in found["tasks"].items()]
    rows += [Option(kind, "file", "", text) for kind, text in FILE_TEXTS.items()]
    for kind in KINDS:
        rows.append(Option(f"{kind} NAME", kind, "", ", ".join(one.name for one in _named(kind))))
    methods = dict.fromkeys(name.partition("_")[0] for name in found["models"])
    rows.append(Option("STUDY.yaml", "own code", "", "What the imports of a study register, with options."))
    rows.append(Option("MODEL", "model", "", f"{len(found['models'])} models of {', '.join(methods)}, and timm's"))
    return Topic("studies options NAME lists the options of", rows)


def _named(kind: str) -> list[Option]:
    if kind == "recipe":
        return [Option(name, "recipe", "", recipes.find(name).title) for name in recipes.names()]
    if kind == "launcher":
        return [Option(name, "launcher", "", "") for name in launcher_names()]
    found = description.current().description["reducers"]
    return [Option(name, "reducer", "", entry["description"]) for name, entry in found.items()]


def _task(name: str, prefix: str = "") -> Topic:
    found = description.current().description["tasks"][name]
    options = list(_flat(found["config"], ""))
    if prefix:
        chosen = [o for o in options if o.name == prefix or o.name.startswith(f"{prefix}.")]
        if not chosen:
            raise UsageError(f"{name} has no {prefix}{suggest(prefix, [o.name for o in options])}")
        options = chosen
    return Topic(f"{name}: {found['description']}", options)


def _flat(schema: Schema, prefix: str) -> Iterator[Option]:
    for key, item in schema["properties"].items():
        if "properties" in item:
            yield from _flat(item, f"{prefix}{key}.")
        else:
            yield Option.of(prefix + key, item)


def model_topic(found: models.Model) -> Topic:
    """Return the options of a model, ours, timm's or an own one."""
    defaults = found.defaults()
    own = [name for name in found.options if name not in GIVEN]
    more = "; further options go to timm" if found.open else ""
    given = ", ".join(name for name in GIVEN if name in found.options)
    title = f"{found.name}: options under `model:`{more}" + (f"; the task sets {given}" if given else "")
    return Topic(title, [Option.of(n, found.options[n].schema, defaults.get(n, ...)) for n in own])


def _reducer(name: str) -> Topic:
    found = models.find("reducer", name)
    if found is None:
        raise UsageError(f"no reducer {name}{models.suggest_name('reducer', name)}")
    text = description.current().description["reducers"][name]["description"]
    options = [Option.of(key, option.schema) for key, option in found.options.items()]
    return Topic(f"{name}: {text} Options under `reducer:`", options)


def _recipe(name: str) -> Topic:
    if name not in recipes.names():
        raise UsageError(f"no recipe {name}{suggest_or_list(name, recipes.names())}")
    found = recipes.find(name)
    options = [Option(key, "", ours, f"source: {theirs}") for key, ours, theirs in recipes.rows(found) if ours != "-"]
    return Topic(f"{name}: {found.title}; for {found.models}", options)


def _launcher(name: str) -> Topic:
    if name not in launcher_names():
        raise UsageError(f"no launcher {name}{suggest_or_list(name, launcher_names())}")
    title = f"{name}: `--launch KEY=VALUE`, or in a study under resources: {{launcher: {{{name}: ...}}}}"
    if name == "slurm":
        from studies.engine.launchers.slurm.options import SBATCH, Options

        rows = [Option.of(key, item) for key, item in schema_of(Options)["properties"].items()]
        return Topic(f"{title}; every option of sbatch too", [*rows, Option(", ".join(SBATCH), "sbatch", "", "")])
    return Topic(title, [Option.of(key, schema_of(kind)) for key, kind in option_types(name).items()])


def _study() -> Topic:
    kinds = {
        "": StudyFile, "parts.PART.": PartSpec, "axes.AXIS.": AxisSpec, "design[].": BlockSpec,
        "scales.SCALE.": ScaleSpec, "metrics.METRIC.": Metric, "resources.": Resources, "decide.": Decide,
    }  # fmt: skip
    rows = [
        Option.of(p + key, item) for p, kind in kinds.items() for key, item in schema_of(kind)["properties"].items()
    ]
    return Topic("a study file, STUDY.yaml; settings are the options of its task", rows)


def _table() -> Topic:
    from paper_tables.schema.json_schema import table_file_schema

    schema = table_file_schema()
    rows = [Option.of(key, item) for key, item in schema["properties"].items()]
    for name, entry in sorted(schema["$defs"].items()):
        rows += [Option.of(f"{name}.{key}", item) for key, item in entry.get("properties", {}).items()]
    return Topic("a table file, STUDY.tables.yaml or paper_tables/STUDY.yaml", rows)


KINDS: dict[str, Callable[[str], Topic]] = {"reducer": _reducer, "recipe": _recipe, "launcher": _launcher}
FILES: dict[str, Callable[[], Topic]] = {"study": _study, "table": _table}
ELSEWHERE = "; `studies options` lists what there is, `studies options STUDY.yaml` what a study's imports register"
FILE_TEXTS = {"study": "The keys of a study file.", "table": "The keys of a table file."}
