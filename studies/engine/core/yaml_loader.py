"""YAML as study files mean it: 1.2 scalars, no key twice, and every value knows where it stands.

Built from the parser's events rather than through PyYAML's constructors, which read `off` as False, `1e-3` as a word,
`010` as 8 and `3:30` as 210, drop a key given twice, and forget line numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from studies.engine.core.errors import Problem, dotted, shown

LARGEST_FILE = 1_000_000  # characters
DEEPEST = 40
MOST_VALUES = 100_000  # after aliases have been followed

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS: dict[str, bool | None] = dict.fromkeys(("", "~", "null", "Null", "NULL")) | {
    w: w.lower() == "true" for w in ("true", "True", "TRUE", "false", "False", "FALSE")
}
_NUMBER_LENGTH = 100

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Mark:
    """Counted from 1."""

    line: int
    column: int


@dataclass
class Document:
    """A file's value, where each key and value of it stands, and what was wrong with the text itself."""

    file: Path
    text: str
    value: Any = None
    keys: dict[KeyPath, Mark] = field(default_factory=dict)
    values: dict[KeyPath, Mark] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def problem(self, path: KeyPath, text: str, at_key: bool = False) -> Problem:
        """A problem at that path, or at the nearest thing above it that the file holds."""
        places, there = (self.keys if at_key else self.values), path
        while there and there not in places:
            there = there[:-1]
            places = self.values if there == () else self.keys
        mark = places.get(there, Mark(1, 1))
        return Problem(shown(self.file), text, dotted(path), mark.line, mark.column)


def read(file: Path) -> Document:
    """Read a file; what is wrong with it stands in `problems`, and `value` is as much as could be read."""
    try:
        if file.stat().st_size > LARGEST_FILE:
            return _refused(file, "", f"larger than {LARGEST_FILE // 1_000_000} MB, which no study file is")
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        return _refused(file, "", "not UTF-8 text", Mark(line, 1))
    except OSError as error:
        return _refused(file, "", f"cannot be read: {error.strerror}")
    return parse(text, file)


def parse(text: str, file: Path) -> Document:
    document = Document(file, text)
    try:
        root = _Composer(document, yaml.parse(text, Loader=_LOADER)).compose()
        if root is not None:
            budget = [MOST_VALUES]
            document.value = _expand(root, (), document, budget)
    except yaml.YAMLError as error:
        document.problems.append(_syntax(error, document))
    except _Refusal as error:
        document.problems.append(Problem(shown(file), str(error), "", error.mark.line, error.mark.column))
    return document


def parse_value(text: str) -> Any:
    """One value from the command line (`--set key=value`), read as in a study file; ValueError if it is not YAML."""
    document = parse(text, Path("--set"))
    if document.problems:
        raise ValueError(document.problems[0].text)
    return document.value


def scalar(text: str) -> Any:
    """A plain (unquoted) scalar by the YAML 1.2 core schema."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > _NUMBER_LENGTH:
        return text
    if _INT.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if _FLOAT.fullmatch(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


@dataclass
class _Node:
    mark: Mark
    value: Any
    """A scalar, a list of nodes, or {key: (mark of the key, node)}."""


class _Refusal(Exception):
    def __init__(self, text: str, mark: Mark) -> None:
        super().__init__(text)
        self.mark = mark


class _Composer:
    """Events to nodes. An anchor is known once its value is complete, so nothing can contain itself."""

    def __init__(self, document: Document, events: Iterator[Any]) -> None:
        self.document, self.events = document, events
        self.anchors: dict[str, _Node] = {}

    def compose(self) -> _Node | None:
        root: _Node | None = None
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent) and root is not None:
                raise _Refusal("a second document; a file holds one", _mark(event))
            if isinstance(event, yaml.NodeEvent):
                root = self.node(event, 0)
        return root

    def node(self, event: Any, depth: int) -> _Node:
        mark = _mark(event)
        if depth > DEEPEST:
            raise _Refusal(f"nested more than {DEEPEST} deep", mark)
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self.anchors:
                raise _Refusal(f"*{event.anchor} is not defined before this place", mark)
            return self.anchors[event.anchor]
        if event.tag not in (None, "!"):
            raise _Refusal(f"a tag ({event.tag}); study files have none", mark)
        node = _Node(mark, self.value(event, depth))
        if event.anchor:
            self.anchors[event.anchor] = node
        return node

    def value(self, event: Any, depth: int) -> Any:
        if isinstance(event, yaml.ScalarEvent):
            return scalar(event.value) if not event.style else event.value
        if isinstance(event, yaml.SequenceStartEvent):
            items = []
            while not isinstance(item := next(self.events), yaml.SequenceEndEvent):
                items.append(self.node(item, depth + 1))
            return items
        return self.mapping(depth)

    def mapping(self, depth: int) -> dict[str, tuple[Mark, _Node]]:
        found: dict[str, tuple[Mark, _Node]] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            mark = _mark(event)
            if not isinstance(event, yaml.ScalarEvent):
                raise _Refusal("a key must be a word", mark)
            key, node = event.value, self.node(next(self.events), depth + 1)
            if key in found:
                text = f'key "{key}" twice, first in line {found[key][0].line}'
                self.document.problems.append(Problem(shown(self.document.file), text, "", mark.line, mark.column))
            elif key == "<<" and not event.style:
                raise _Refusal(
                    "merge keys (<<) are not part of YAML 1.2; name the value with & and use it with *", mark
                )
            else:
                found[key] = (mark, node)
        return found


def _expand(node: _Node, path: KeyPath, document: Document, budget: list[int]) -> Any:
    """Nodes to values; aliases are followed here, and counted, so that a few lines cannot become gigabytes."""
    budget[0] -= 1
    if budget[0] < 0:
        raise _Refusal(f"more than {MOST_VALUES} values once aliases are followed", node.mark)
    document.values[path] = node.mark
    if isinstance(node.value, list):
        return [_expand(item, (*path, i), document, budget) for i, item in enumerate(node.value)]
    if isinstance(node.value, dict):
        value = {}
        for key, (mark, item) in node.value.items():
            document.keys[(*path, key)] = mark
            value[key] = _expand(item, (*path, key), document, budget)
        return value
    return node.value


def _mark(event: Any) -> Mark:
    return Mark(event.start_mark.line + 1, event.start_mark.column + 1)


def _refused(file: Path, text: str, reason: str, mark: Mark | None = None) -> Document:
    mark = mark or Mark(1, 1)
    return Document(file, text, problems=[Problem(shown(file), reason, "", mark.line, mark.column)])


def _syntax(error: yaml.YAMLError, document: Document) -> Problem:
    where = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if where is None:  # a character that YAML does not allow
        position = min(int(getattr(error, "position", 0)), len(document.text))
        before = document.text[:position]
        mark = Mark(before.count("\n") + 1, position - before.rfind("\n"))
        return Problem(shown(document.file), "a character that YAML does not allow", "", mark.line, mark.column)
    mark = Mark(where.line + 1, where.column + 1)
    lines = document.text.splitlines()
    line = lines[mark.line - 1] if mark.line <= len(lines) else ""
    said = [str(part) for part in (getattr(error, "context", None), getattr(error, "problem", None)) if part]
    if line[mark.column - 1 : mark.column] == "\t" or line[: mark.column - 1].strip(" ") == "\t":
        said = ["a tab; YAML is indented with spaces"]
    return Problem(shown(document.file), ", ".join(said) or "not YAML", "", mark.line, mark.column)
