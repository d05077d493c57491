"""YAML 1.2 with positions: scalars of the core schema, no duplicate keys, and a line and column for every value.

Read from the parser's events. PyYAML's own constructors follow YAML 1.1: they read `off` as False, `1e-3` as text,
`010` as 8 and `3:30` as 210, accept duplicate keys, and forget line numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from studies.engine.core.errors import Problem, dotted, shown

LARGEST_FILE = 1_000_000  # characters
DEEPEST = 40
MOST_VALUES = 100_000  # once aliases are expanded

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_CONSTANTS: dict[str, bool | None] = dict.fromkeys(("", "~", "null", "Null", "NULL")) | {
    text: text.lower() == "true" for text in ("true", "True", "TRUE", "false", "False", "FALSE")
}
_NUMBER_LENGTH = 100

KeyPath = tuple[str | int, ...]


class Mark(NamedTuple):
    """A place in a file, counted from 1."""

    line: int
    column: int


@dataclass
class Document:
    """A file's value, the places of its keys and values, and what is wrong with the text itself."""

    file: Path
    text: str = ""
    value: Any = None
    keys: dict[KeyPath, Mark] = field(default_factory=dict)
    values: dict[KeyPath, Mark] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def problem(self, path: KeyPath, text: str, at_key: bool = False) -> Problem:
        """Return a problem at a path, or at the nearest path above it that the file has."""
        places, found = (self.keys if at_key else self.values), path
        while found and found not in places:
            found = found[:-1]
            places = self.keys if found else self.values
        return self.problem_at(places.get(found, Mark(1, 1)), text, path)

    def problem_at(self, mark: Mark, text: str, path: KeyPath = ()) -> Problem:
        return Problem(shown(self.file), text, dotted(path), mark.line, mark.column)


def read(file: Path) -> Document:
    """Read a file. What is wrong with it is in `problems`; `value` is as much as could be read."""
    document, mark = Document(file), Mark(1, 1)
    try:
        if file.stat().st_size <= LARGEST_FILE:
            return parse(file.read_bytes().decode("utf-8-sig"), file)
        text = f"larger than {LARGEST_FILE // 1_000_000} MB, which no study file is"
    except UnicodeDecodeError as error:
        mark, text = Mark(error.object[: error.start].count(b"\n") + 1, 1), "not UTF-8 text"
    except OSError as error:
        text = f"cannot be read: {error.strerror}"
    document.problems.append(document.problem_at(mark, text))
    return document


def parse(text: str, file: Path, loader: Any = None) -> Document:
    """Read YAML text as the content of `file`."""
    document = Document(file, text)
    try:
        root = _Composer(document, yaml.parse(text, Loader=loader or _LOADER)).compose()
        if root is not None:
            _expand(root, (), document)
    except yaml.YAMLError as error:
        if "maximum nesting depth" in str(error) and loader is None:  # libyaml's limit; the Python parser has none
            return parse(text, file, yaml.SafeLoader)
        document.problems.append(_syntax_problem(error, document))
    except _Refused as error:
        document.problems.append(document.problem_at(error.mark, str(error)))
    return document


def parse_value(text: str) -> Any:
    """Read one value of the command line (`--set key=value`) as in a study file; ValueError if it is not YAML."""
    document = parse(text, Path("--set"))
    if document.problems:
        raise ValueError(document.problems[0].text)
    return document.value


def scalar(text: str) -> Any:
    """Return the value of a plain (unquoted) scalar by the YAML 1.2 core schema."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if len(text) > _NUMBER_LENGTH:
        return text
    if _INT.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if _FLOAT.fullmatch(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


class _Node(NamedTuple):
    """value: a scalar, a list of nodes, or {key: (mark of the key, node)}."""

    mark: Mark
    value: Any


class _Refused(Exception):
    def __init__(self, text: str, mark: Mark) -> None:
        super().__init__(text)
        self.mark = mark


class _Composer:
    """Builds nodes from events. An anchor is known once its value is complete, so no value can contain itself."""

    def __init__(self, document: Document, events: Iterator[Any]) -> None:
        self.document, self.events = document, events
        self.anchors: dict[str, _Node] = {}

    def compose(self) -> _Node | None:
        root: _Node | None = None
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent) and root is not None:
                raise _Refused("a second document; a file holds one", _mark(event.start_mark))
            if isinstance(event, yaml.NodeEvent):
                root = self.node(event, 0)
        return root

    def node(self, event: Any, depth: int) -> _Node:
        mark = _mark(event.start_mark)
        if depth > DEEPEST:
            raise _Refused(f"nested more than {DEEPEST} deep", mark)
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self.anchors:
                raise _Refused(f"*{event.anchor} is not defined before this place", mark)
            return self.anchors[event.anchor]
        if event.tag not in (None, "!"):
            raise _Refused(f"a tag ({event.tag}); study files have none", mark)
        if isinstance(event, yaml.ScalarEvent):
            node = _Node(mark, event.value if event.style else scalar(event.value))
        elif isinstance(event, yaml.SequenceStartEvent):
            items = _until(yaml.SequenceEndEvent, self.events)
            node = _Node(mark, [self.node(item, depth + 1) for item in items])
        else:
            node = _Node(mark, self.mapping(depth))
        if event.anchor:
            self.anchors[event.anchor] = node
        return node

    def mapping(self, depth: int) -> dict[str, tuple[Mark, _Node]]:
        found: dict[str, tuple[Mark, _Node]] = {}
        for event in _until(yaml.MappingEndEvent, self.events):
            mark = _mark(event.start_mark)
            if not isinstance(event, yaml.ScalarEvent):
                raise _Refused("a key must be text", mark)
            key, node = event.value, self.node(next(self.events), depth + 1)
            if key in found:
                text = f'key "{key}" twice, first in line {found[key][0].line}'
                self.document.problems.append(self.document.problem_at(mark, text))
            elif key == "<<" and not event.style:
                text = "merge keys (<<) are not part of YAML 1.2; name the value with & and use it with *"
                raise _Refused(text, mark)
            else:
                found[key] = (mark, node)
        return found


def _until(end: type, events: Iterator[Any]) -> Iterator[Any]:
    """Yield the events before the end of a sequence or mapping; reading an item consumes the nested ones."""
    for event in events:
        if isinstance(event, end):
            return
        yield event


def _expand(node: _Node, path: KeyPath, document: Document) -> Any:
    """Turn nodes into values. Aliases are followed here, and counted, so that a few lines cannot become gigabytes."""
    if len(document.values) >= MOST_VALUES:
        raise _Refused(f"more than {MOST_VALUES} values once aliases are followed", node.mark)
    document.values[path] = node.mark
    value = node.value
    if isinstance(value, list):
        value = [_expand(item, (*path, i), document) for i, item in enumerate(value)]
    elif isinstance(value, dict):
        document.keys.update({(*path, key): mark for key, (mark, _) in value.items()})
        value = {key: _expand(item, (*path, key), document) for key, (_, item) in value.items()}
    if not path:
        document.value = value
    return value


def _mark(mark: Any) -> Mark:
    return Mark(mark.line + 1, mark.column + 1)


def _syntax_problem(error: yaml.YAMLError, document: Document) -> Problem:
    where = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if where is None:
        position = min(int(getattr(error, "position", 0)), len(document.text))
        before = document.text[:position]
        mark = Mark(before.count("\n") + 1, position - before.rfind("\n"))
        return document.problem_at(mark, "a character that YAML does not allow")
    mark = _mark(where)
    line = [*document.text.splitlines(), *[""] * mark.line][mark.line - 1]
    said = [str(part) for part in (getattr(error, "context", None), getattr(error, "problem", None)) if part]
    if line[mark.column - 1 : mark.column] == "\t" or line[: mark.column - 1].strip(" ") == "\t":
        said = ["a tab; YAML is indented with spaces"]
    return document.problem_at(mark, ", ".join(said) or "not YAML")
