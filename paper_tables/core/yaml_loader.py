"""A YAML file as data plus the position of every key, with YAML 1.2 scalars and without duplicate keys.

PyYAML follows YAML 1.1, where `off` is False and `1e-3` a string; here `off` stays a label and `1e-3` is a number.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from paper_tables.core.errors import Fault, TableError

Key = tuple[str | int, ...]


MAX_DEPTH = 64
"""Deepest nesting that is read: far more than a table file needs, and far from Python's recursion limit."""


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {}  # noqa: RUF012  (PyYAML's resolvers are per class)
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node. Raises MarkedYAMLError beyond `MAX_DEPTH`, where recursion would end in a crash."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _too_deep(self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _too_deep(mark: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=f"is nested more than {MAX_DEPTH} levels deep", problem_mark=mark)


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first))


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    return int(loader.construct_scalar(node))


_Loader.add_constructor("tag:yaml.org,2002:int", _integer)  # 010 is ten, as YAML 1.2 has it


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
    try:
        loader = _Loader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        if node is not None:
            document.data = _to_data(loader, node, (), document)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise TableError([Fault(document.file, line, column, "", str(error.problem or error))]) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise TableError([Fault(document.file, 0, 0, "", str(error).splitlines()[0])]) from error
    return document


def _to_data(loader: _Loader, node: yaml.Node, key: Key, document: Document) -> Any:
    if len(key) > MAX_DEPTH:  # an alias inside its own anchor never ends
        raise _too_deep(node.start_mark)
    document.marks.setdefault(key, (node.start_mark.line + 1, node.start_mark.column + 1))
    if isinstance(node, yaml.MappingNode):
        return _mapping(loader, node, key, document)
    if isinstance(node, yaml.SequenceNode):
        return [_to_data(loader, child, (*key, i), document) for i, child in enumerate(node.value)]
    return loader.construct_object(node)


def _mapping(loader: _Loader, node: yaml.MappingNode, key: Key, document: Document) -> dict[Hashable, Any]:
    data: dict[Hashable, Any] = {}
    for name_node, value_node in node.value:
        name = str(name_node.value) if isinstance(name_node, yaml.ScalarNode) else ""
        place = (*key, name)
        mark = (name_node.start_mark.line + 1, name_node.start_mark.column + 1)
        if name in data:
            first = document.marks[place][0]
            raise TableError(
                [Fault(document.file, *mark, format_key(place), f"is defined twice (first in line {first})")]
            )
        document.marks[place] = mark
        data[name] = _to_data(loader, value_node, place, document)
    return data
