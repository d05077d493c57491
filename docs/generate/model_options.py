"""Tables of task options, models and reducers, from the description that study files are checked against."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from option_text import code, kind, option_rows, table

ROOT = Path(__file__).resolve().parents[2]
DESCRIPTION = json.loads((ROOT / "studies/engine/catalog/description.json").read_text())
OPTION_HEADS = ("key", "type", "default", "meaning")


def task(name: str) -> str:
    """Return what a task is, its options by section, and the metrics that a study may name."""
    found = DESCRIPTION["tasks"][name]
    sections = {key: value for key, value in found["config"]["properties"].items() if value.get("properties")}
    alone = {"properties": {k: v for k, v in found["config"]["properties"].items() if k not in sections}}
    parts = [found["description"], "", table(OPTION_HEADS, option_rows(alone))]
    for key, section in sections.items():
        parts += [
            f"## {key}",
            "",
            section.get("description", ""),
            "",
            table(OPTION_HEADS, option_rows(section, f"{key}.")),
        ]
    places = found["metrics"].items()
    rows = [(f"`{place}`" if place != "result" else "none", ", ".join(map(code, names))) for place, names in places]
    return "\n".join([*parts, "## Metrics", "", METRICS, "", table(("`from`", "names"), rows)])


METRICS = """A study's `metrics:` names them, with `from:` for the place: `best` and `last` are epochs, an event's own
name is the last value of its curve."""


def models() -> str:
    """Return every method: its registered names with what they set, and the options of its class."""
    parts = []
    for path, found in sorted(DESCRIPTION["classes"].items(), key=lambda item: (item[1]["method"], item[0])):
        names = {name: one["preset"] for name, one in DESCRIPTION["models"].items() if one["class"] == path}
        rows = [
            (f"`{name}`", ", ".join(f"`{k}={json.dumps(v)}`" for k, v in preset.items()))
            for name, preset in names.items()
        ]
        parts += [
            f"## {path.rsplit('.', 1)[-1]}", "", f"{found['module']}", "", found["description"], "",
            table(("name", "sets"), rows), "", table(OPTION_HEADS, option_rows(found["options"])),
        ]  # fmt: skip
    return "\n".join(parts)


def reducers() -> str:
    """Return the options of every token reducer."""
    parts = []
    for name, found in sorted(DESCRIPTION["reducers"].items()):
        free = "Needs no training." if found["training_free"] else "Has weights of its own: needs training, or `init`."
        parts += [f"## {name}", "", f"{found['description']} {free}", "", table(OPTION_HEADS, _reducer_rows(found))]
    return "\n".join(parts)


def _reducer_rows(found: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    rows = []
    for name, option in found["options"]["properties"].items():
        text = option.get("description", "")
        if name == "target_gmacs":
            text = text or "Multiply-accumulates in 1e9 for which the rate is picked, instead of giving it."
        rows.append((f"`reducer.{name}`", kind(option), code(option.get("default")), text))
    return rows
