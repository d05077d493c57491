"""A YAML file as data plus the position of every key, with YAML 1.2 scalars and without duplicate keys.

PyYAML follows YAML 1.1, where `off` is False and `1e-3` a string; here `off` stays a label and `1e-3` is a number.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml.reader import Reader, ReaderError

from paper_tables.core.errors import Fault, TableError

Key = tuple[str | int, ...]

MAX_BYTES = 1_000_000
MAX_ENTRIES = 20_000
"""Most keys and values, aliases written out: a hundred times the largest table file of this repository."""
TOO_MANY = f"has more than {MAX_ENTRIES} entries"
MAX_DEPTH = 64
"""Deepest nesting that is read: far more than a table file needs, and far from Python's recursion limit."""


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {}  # noqa: RUF012  (PyYAML's resolvers are per class)
    depth = 0
    entries = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node. Raises MarkedYAMLError beyond `MAX_DEPTH`, where recursion would end in a crash."""
        self.depth, self.entries = self.depth + 1, self.entries + 1
        if self.entries > MAX_ENTRIES:
            raise _error(self.peek_event(), TOO_MANY)  # type: ignore[no-untyped-call]
        if self.depth > MAX_DEPTH:
            raise _error(self.peek_event(), f"is nested more than {MAX_DEPTH} levels deep")  # type: ignore[no-untyped-call]
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _error(where: Any, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=where.start_mark)


SCALARS: dict[str, tuple[str, str, Callable[[str], Any]]] = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF", lambda text: {"true": True, "false": False}[text.lower()]),
    "int": (r"[-+]?[0-9]+", "-+0123456789", int),  # 010 is ten, as YAML 1.2 has it
    "float": (r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789", float),
    "null": (r"~|null|Null|NULL|", "~nN", lambda text: None),
    "str": ("", "", str),
}
"""Tag -> what an unquoted scalar of it looks like, its first letters, how it is read."""
for _tag, (_pattern, _first, _) in SCALARS.items():
    if _pattern:
        letters = [*_first, *([""] if _tag == "null" else [])]
        _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), letters)


@dataclass
class Document:
    """`data` as plain Python; `marks` the line and column (from 1) of every key path."""

    file: str
    data: Any
    marks: dict[Key, tuple[int, int]] = field(default_factory=dict)
    included: dict[str, tuple[Document, str]] = field(default_factory=dict)
    """Top-level keys taken from another file: (that document, the key there)."""

    def include(self, key: str, source: Document, name: str) -> None:
        """Use key `name` of another file as this one's `key`; its errors are reported with that file's lines."""
        self.data[key], self.included[key] = source.data[name], (source, name)

    def fault(self, key: Key, message: str) -> Fault:
        """Return an error at a key path, or at its nearest parent if the path is not in the file."""
        if key and key[0] in self.included:
            source, name = self.included[str(key[0])]
            return source.fault((name, *key[1:]), message)
        place = key
        while place and place not in self.marks:
            place = place[:-1]
        line, column = self.marks.get(place, (1, 1))
        return Fault(self.file, line, column, format_key(key), message)


def format_key(key: Key) -> str:
    """Return a key path as text: ``tables[0].columns[1].metric``."""
    text = ""
    for step in key:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.lstrip(".")


def load_yaml(path: Path, name: str | None = None) -> Document:
    """Read a YAML file. Raises TableError if it cannot be read; `name` is the file name in error messages."""
    document = Document(name or str(path), None)
    line, column, problem = 0, 0, ""
    try:
        data = path.read_bytes()
        if len(data) > MAX_BYTES:
            raise OSError(f"is larger than {MAX_BYTES // 1_000_000} MB")
        loader = _Loader(data.decode())
        node = loader.get_single_node()
        if node is not None:
            document.data = _to_data(node, (), document)
        return document
    except TableError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        tab = "'\\t'" in str(error.problem)
        problem = "a tab; YAML is indented with spaces" if tab else str(error.problem or error)
    except UnicodeDecodeError as error:
        (line, column), problem = _position(data[: error.start].decode()), str(error)
    except ReaderError as error:
        (line, column), problem = _position(data.decode()[: error.position]), str(error).splitlines()[0]
    except (OSError, yaml.YAMLError) as error:
        problem = str(error).splitlines()[0]
    except ValueError:  # an escape such as "\U00110000"
        line, column, problem = loader.line + 1, loader.column + 1, "is no character"
    raise TableError([Fault(document.file, line, column, "", problem)])


def parse_yaml(text: str) -> Any:
    """Return YAML text as plain Python. Raises TableError, YAMLError or ValueError."""
    node = _Loader(text).get_single_node()
    return None if node is None else _to_data(node, (), Document("", None))


def _position(before: str) -> tuple[int, int]:
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _to_data(node: yaml.Node, key: Key, document: Document) -> Any:
    if len(key) > MAX_DEPTH:  # an alias inside its own anchor never ends
        raise _error(node, f"is nested more than {MAX_DEPTH} levels deep")
    document.marks.setdefault(key, (node.start_mark.line + 1, node.start_mark.column + 1))
    if len(document.marks) > MAX_ENTRIES:  # aliases of aliases
        raise _error(node, TOO_MANY)
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, key, document)
    if isinstance(node, yaml.SequenceNode):
        return [_to_data(child, (*key, i), document) for i, child in enumerate(node.value)]
    return _scalar(node)


def _scalar(node: yaml.Node) -> Any:
    kind, text = node.tag.removeprefix("tag:yaml.org,2002:"), str(node.value)
    if not isinstance(node, yaml.ScalarNode) or kind not in SCALARS:
        raise _error(node, f"must be a plain value, not {node.tag.removeprefix('tag:yaml.org,2002:')}")
    if Reader.NON_PRINTABLE.search(text):
        raise _error(node, "contains a character that cannot be printed")
    try:
        return SCALARS[kind][2](text)
    except (ValueError, KeyError) as error:
        raise _error(node, f"is no {kind}") from error


def _mapping(node: yaml.MappingNode, key: Key, document: Document) -> dict[str, Any]:
    data: dict[str, Any] = {}
    inherited: dict[str, Any] = {}
    for name_node, value_node in sorted(node.value, key=lambda pair: pair[0].value != "<<"):
        _scalar(name_node)
        name = str(name_node.value)
        if name == "<<":
            if not isinstance(value_node, yaml.MappingNode):
                raise _error(value_node, "must be one mapping, by its anchor: <<: *name")
            inherited = _mapping(value_node, key, document)
            continue
        place = (*key, name)
        mark = (name_node.start_mark.line + 1, name_node.start_mark.column + 1)
        if name in data:
            first = document.marks[place][0]
            raise TableError(
                [Fault(document.file, *mark, format_key(place), f"is defined twice (first in line {first})")]
            )
        document.marks[place] = mark
        data[name] = _to_data(value_node, place, document)
    return {**inherited, **data}
