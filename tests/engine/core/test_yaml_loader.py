"""Scalars by YAML 1.2, places, and files that must be refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from studies.engine.core import yaml_loader
from studies.engine.core.yaml_loader import Mark, parse, parse_value, read

FILE = Path("x.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("off", "off"),
        ("on", "on"),
        ("yes", "yes"),
        ("No", "No"),
        ("true", True),
        ("False", False),
        ("1e-3", 1e-3),
        ("1.", 1.0),
        (".5", 0.5),
        ("-2", -2),
        ("010", 10),
        ("0x1F", 31),
        ("0o17", 15),
        ("3:30", "3:30"),
        ("1_000", "1_000"),
        ("2024-01-02", "2024-01-02"),
        ("~", None),
        ("null", None),
        ('"null"', "null"),
        ("'1'", "1"),
        ("-.inf", float("-inf")),
        ("=", "="),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    found = parse_value(text)
    assert found == value
    assert type(found) is type(value)


def test_a_long_run_of_digits_is_text_and_not_a_denial_of_service() -> None:
    assert parse_value("9" * 5000) == "9" * 5000


def test_every_key_and_value_knows_its_place() -> None:
    document = parse("a:\n  b: [1, {c: d}]\n", FILE)
    assert document.value == {"a": {"b": [1, {"c": "d"}]}}
    assert document.keys[("a", "b")] == Mark(2, 3)
    assert document.values[("a", "b", 1, "c")] == Mark(2, 14)
    assert document.keys[("a", "b", 1, "c")] == Mark(2, 11)


def test_a_problem_with_what_is_not_there_stands_at_what_is_above_it() -> None:
    document = parse("a:\n  b: {c: 1}\n", FILE)
    problem = document.problem(("a", "b", "missing", "deeper"), "wrong")
    assert str(problem) == "x.yaml:2:3  a.b.missing.deeper: wrong"


def test_anchors_are_followed_and_keep_the_place_of_their_definition() -> None:
    document = parse("a: &x [1, 2]\nb: *x\n", FILE)
    assert document.value == {"a": [1, 2], "b": [1, 2]}
    assert document.values[("b", 1)] == Mark(1, 11)


def test_a_key_given_twice_is_said_and_the_first_one_kept() -> None:
    document = parse("a: 1\nb: {c: 1, c: 2}\na: 2\n", FILE)
    assert document.value == {"a": 1, "b": {"c": 1}}
    assert [str(p) for p in document.problems] == [
        'x.yaml:2:11  key "c" twice, first in line 2',
        'x.yaml:3:1  key "a" twice, first in line 1',
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a:\n\tb: 1\n", "x.yaml:2:1  a tab; YAML is indented with spaces"),
        ("a: 1\n\tb: 2\n", "x.yaml:2:1  a tab; YAML is indented with spaces"),
        ("a: [1, 2\nb: 3\n", "x.yaml:2:2  while parsing a flow sequence, did not find expected ',' or ']'"),
        ("a: b: c\n", "x.yaml:1:5  mapping values are not allowed in this context"),
        ("a: 1\n---\nb: 2\n", "x.yaml:2:1  a second document; a file holds one"),
        ("a: &x [*x]\n", "x.yaml:1:8  *x is not defined before this place"),
        ("a: !!python/name:os.system x\n", "x.yaml:1:4  a tag (tag:yaml.org,2002:python/name:os.system)"),
        ("? [a]\n: 1\n", "x.yaml:1:3  a key must be text"),
        ("<<: {a: 1}\n", "x.yaml:1:1  merge keys (<<) are not part of YAML 1.2"),
        ("a: \x01\n", "x.yaml:1:4  a character that YAML does not allow"),
        ("[" * 100_000, "x.yaml:1:42  nested more than 40 deep"),
    ],
)
def test_what_is_no_study_yaml_is_said_in_one_line(text: str, said: str) -> None:
    problems = parse(text, FILE).problems
    assert len(problems) == 1
    assert str(problems[0]).startswith(said)


def test_the_pure_python_parser_reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_loader, "_LOADER", yaml.SafeLoader)
    assert parse("a: off\nb: {c: 1e-3, d: '1'}\n", FILE).value == {"a": "off", "b": {"c": 1e-3, "d": "1"}}
    assert str(parse("a:\n\tb: 1\n", FILE).problems[0]) == "x.yaml:2:1  a tab; YAML is indented with spaces"


def test_aliases_cannot_grow_without_bound() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    problems = parse("\n".join(lines), FILE).problems
    assert [p.text for p in problems] == ["more than 100000 values once aliases are followed"]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    large, binary = tmp_path / "large.yaml", tmp_path / "binary.yaml"
    large.write_text("a: " + "x" * yaml_loader.LARGEST_FILE)
    binary.write_bytes(b"a: 1\nb: \xff\n")
    assert read(large).problems[0].text == "larger than 1 MB, which no study file is"
    assert (read(binary).problems[0].text, read(binary).problems[0].line) == ("not UTF-8 text", 2)
    assert read(tmp_path / "none.yaml").problems[0].text == "cannot be read: No such file or directory"


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_but_never_raises(text: str) -> None:
    document = parse(text, FILE)
    assert (
        document.problems
        or document.value is None
        or isinstance(document.value, bool | int | float | str | list | dict)
    )
