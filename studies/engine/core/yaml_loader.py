"""YAML 1.2 with positions: scalars of the core schema, no duplicate keys, and a line and column for every value.

Read from the parser's events. PyYAML's own constructors follow YAML 1.1: they read `off` as False, `1e-3` as text,
`010` as 8 and `3:30` as 210, accept duplicate keys, and forget line numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
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
Verbatim = Callable[[KeyPath], bool]
"""Whether the scalar of a path keeps its text, as options of other programs do: 012345 is an account, not 12345."""


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


def never(path: KeyPath) -> bool:
    return False


def read(file: Path, verbatim: Verbatim = never) -> Document:
    """Read a file. What is wrong with it is in `problems`; `value` is as much as could be read."""
    line = 1
    try:
        if file.stat().st_size <= LARGEST_FILE:
            return parse(file.read_bytes().decode("utf-8-sig"), file, verbatim)
        text = f"larger than {LARGEST_FILE // 1_000_000} MB, which no study file is"
    except UnicodeDecodeError as error:
        line, text = error.object[: error.start].count(b"\n") + 1, "not UTF-8 text"
    except OSError as error:
        text = f"cannot be read: {error.strerror}"
    return Document(file, problems=[Problem(shown(file), text, "", line, 1)])


def parse(text: str, file: Path, verbatim: Verbatim = never, loader: Any = None) -> Document:
    """Read YAML text as the content of `file`."""
    document = Document(file, text)
    try:
        document.value = _Reader(document, yaml.parse(text, Loader=loader or _LOADER), verbatim).read()
    except yaml.YAMLError as error:
        if "maximum nesting depth" in str(error) and loader is None:  # libyaml's limit; the Python parser has none
            return parse(text, file, verbatim, yaml.SafeLoader)
        document.problems.append(_syntax_problem(error, document))
    return document


def parse_value(text: str, key: str = "", verbatim: Verbatim = never) -> Any:
    """Read one value of the command line (`--set key=value`) as in a study file; ValueError if it is not YAML."""
    place = tuple(key.split("."))
    document = parse(text, Path("--set"), lambda path: verbatim((*place, *path)))
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


def _refused(text: str, event: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=text, problem_mark=event.start_mark)


class _Reader:
    """Builds values from events. An alias reads the events of its anchor again; they are known once the anchored value
    is complete, so no value can contain itself, and every copy counts, so a few lines cannot become gigabytes."""

    def __init__(self, document: Document, events: Iterator[Any], verbatim: Verbatim) -> None:
        self.document, self.stream, self.events, self.verbatim = document, events, events, verbatim
        self.taken: list[Any] = []
        self.anchors: dict[str, tuple[int, int]] = {}

    def read(self) -> Any:
        root = None
        while (event := next(self.events, None)) is not None:
            if isinstance(event, yaml.DocumentStartEvent) and self.document.values:
                raise _refused("a second document; a file holds one", event)
            if isinstance(event, yaml.NodeEvent):
                self.taken.append(event)
                root = self.value(event, ())
        return root

    def take(self) -> Any:
        self.taken.append(next(self.events))
        return self.taken[-1]

    def until(self, end: type) -> Iterator[Any]:
        """Yield the events before the end of a sequence or mapping; reading an item takes the nested ones."""
        while not isinstance(event := self.take(), end):
            yield event

    def value(self, event: Any, path: KeyPath) -> Any:
        start = len(self.taken) - 1
        if len(path) > DEEPEST:
            raise _refused(f"nested more than {DEEPEST} deep", event)
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event, path)
        if event.tag not in (None, "!"):
            raise _refused(f"a tag ({event.tag}); study files have none", event)
        if len(self.document.values) >= MOST_VALUES:
            raise _refused(f"more than {MOST_VALUES} values once aliases are followed", event)
        self.document.values[path] = _mark(event.start_mark)
        found: Any
        if isinstance(event, yaml.ScalarEvent):
            typed = event.style or (self.verbatim(path) and event.value not in _CONSTANTS)
            found = event.value if typed else scalar(event.value)
        elif isinstance(event, yaml.SequenceStartEvent):
            found = [self.value(item, (*path, i)) for i, item in enumerate(self.until(yaml.SequenceEndEvent))]
        else:
            found = self.mapping(path)
        if event.anchor and self.events is self.stream:
            self.anchors[event.anchor] = start, len(self.taken)
        return found

    def alias(self, event: Any, path: KeyPath) -> Any:
        if event.anchor not in self.anchors:
            raise _refused(f"*{event.anchor} is not defined before this place", event)
        self.taken.pop()  # an anchor around this alias holds what the alias stands for
        events, self.events = self.events, iter(self.taken[slice(*self.anchors[event.anchor])])
        found = self.value(self.take(), path)
        self.events = events
        return found

    def mapping(self, path: KeyPath) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for event in self.until(yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise _refused("a key must be text", event)
            key, mark = event.value, _mark(event.start_mark)
            if key == "<<" and not event.style:
                text = "merge keys (<<) are not part of YAML 1.2; name the value with & and use it with *"
                raise _refused(text, event)
            if key in found:
                text = f'key "{key}" twice, first in line {self.document.keys[*path, key].line}'
                self.document.problems.append(self.document.problem_at(mark, text))
                self.value(self.take(), (*path, -1))  # a place that no path names
            else:
                self.document.keys[*path, key] = mark
                found[key] = self.value(self.take(), (*path, key))
        return found


def _mark(mark: Any) -> Mark:
    return Mark(mark.line + 1, mark.column + 1)


def _syntax_problem(error: yaml.YAMLError, document: Document) -> Problem:
    if isinstance(error, yaml.reader.ReaderError):
        before = document.text[: error.position]
        mark = Mark(before.count("\n") + 1, len(before) - before.rfind("\n"))
        return document.problem_at(mark, "a character that YAML does not allow")
    assert isinstance(error, yaml.MarkedYAMLError)
    mark = _mark(error.problem_mark or error.context_mark)
    line = [*document.text.splitlines(), *[""] * mark.line][mark.line - 1]
    if line[mark.column - 1 : mark.column] == "\t" or line[: mark.column - 1].strip(" ") == "\t":
        return document.problem_at(mark, "a tab; YAML is indented with spaces")
    return document.problem_at(mark, ", ".join(filter(None, (error.context, error.problem))))
