"""The command line against the study: all mistakes at once, with the file's, and exit code 2."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from study_text import STUDY, write

from studies.engine.cli.options import UsageError, results_option, selection_options, study_argument
from studies.engine.cli.study_lookup import find_run, plan_selection
from studies.engine.core.errors import StudyError
from studies.engine.planning.choice import choose, override_problems
from studies.engine.planning.selection import Selection
from studies.engine.storage import plan_file
from studies.engine.study import parser, study_files
from studies.engine.study.parts import Part


def refusal(selection: Selection) -> list[str]:
    with pytest.raises(StudyError) as caught:
        choose(study_files.find(selection.study), selection)
    return str(caught.value).splitlines()


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    return str(write(tmp_path).relative_to(tmp_path))


def test_a_choice_is_resolved_against_the_study(small: str) -> None:
    typed = Selection(
        small,
        scale="large",
        overrides=("train.epochs=1e1", "net.model.base_dim=4"),
        only=("recursion=1.0,3", "slices=paper", "recursion=2"),
        seeds="2, 0",
        smoke=True,
    )
    _, chosen = choose(study_files.find(typed.study), typed)
    assert chosen.scale == "large"
    assert chosen.overrides == (("train.epochs", 10.0), ("net.model.base_dim", 4))
    assert dict(chosen.only) == {"recursion": ("1", "3", "2"), "slices": ("paper",)}
    assert (chosen.seeds, chosen.smoke, typed.store.root.name) == ((2, 0), True, "results")


def test_every_mistake_of_the_command_line_at_once(small: str) -> None:
    typed = Selection(
        small,
        scale="larg",
        overrides=("train.epoch=3", "model.recursion=2", "foo", "net.model.grups=1", "train.lr=[", "train.lr=high"),
        only=("recursoin=1", "slices=papr", "part=nett", "rate.recursion=1", "nt.lr=1", "lr"),
        seeds="0,-7,x,0",
    )
    assert refusal(typed) == [
        '--scale  no scale larg, did you mean "large"?',
        '--set  "foo" is not KEY=VALUE',
        "--set  train.lr: [: while parsing a flow node, did not find expected node content",
        "--set  model.recursion: is what the axis recursion of net varies; --only recursion=... chooses",
        '--set  train.epoch: the task task.py has no train.epoch, did you mean "train.epochs"?',
        '--set  train.lr: "high" is not a number',
        '--set  net.model.grups: sret_tiny has no option grups, did you mean "model.groups"?',
        "--set  train.lr: is what the axis lr of rate varies; --only lr=... chooses",
        '--only  recursoin: no axis recursoin, did you mean "recursion"?',
        '--only  slices: papr is not among none, paper, did you mean "paper"?',
        '--only  part: no part nett, did you mean "net"?',
        "--only  rate.recursion: no axis recursion, there is lr",
        '--only  nt.lr: no part nt, did you mean "net"?',
        '--only  "lr" is not AXIS=LEVEL,...',
        "--seeds  -7 is not between 0 and 9007199254740991",
        '--seeds  "x" is not a whole number',
        "--seeds  0 twice",
        "17 errors",
    ]


def test_mistakes_of_the_file_come_with_those_of_the_command_line(small: str, tmp_path: Path) -> None:
    write(tmp_path, STUDY.replace("baseline: 2", "baseline: 4"))
    assert refusal(Selection(small, seeds="x")) == [
        "small.yaml:22:70  parts.net.axes.recursion.baseline: 4 is not among the values 1, 2, 3",
        '--seeds  "x" is not a whole number',
        "2 errors",
    ]


def test_an_override_may_go_to_one_part(small: str) -> None:
    typed = Selection(small, overrides=("net.train.epochs=3",))
    study, chosen = choose(study_files.find(small), typed)
    assert chosen.overrides == (("net.train.epochs", 3),)
    epochs = {
        t.arm.part: t.config["train"]["epochs"]
        for t in plan_selection(Selection(small, overrides=("net.train.epochs=3",))).trials
    }
    assert epochs == {"net": 3, "rate": 2}
    assert study.name == "small"


# ---- which study


def test_studies_are_found_in_the_current_folder_and_in_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = write(tmp_path / "studies")
    assert study_files.find("small").resolve() == file
    assert study_files.find("redundancy_ablation").name == "redundancy_ablation.yaml"
    assert {"redundancy_ablation", "small"} <= set(study_files.names())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("redundancy_ablatoin", 'no study "redundancy_ablatoin" in studies/, did you mean "redundancy_ablation"?'),
        (
            "../redundancy_ablation",
            'no study "../redundancy_ablation" in studies/, did you mean "redundancy_ablation"?',
        ),
        ("/etc/passwd", 'no study "/etc/passwd" in studies/, there are {all}'),
        ("", 'no study "" in studies/, there are {all}'),
        ("..", 'no study ".." in studies/, there are {all}'),
    ],
)
def test_a_name_that_is_none_or_leaves_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    said = said.replace("{all}", ", ".join(study_files.names()))
    assert refusal(Selection(name)) == [f"STUDY  {said}", "1 error"]
    if name != "redundancy_ablatoin":
        with pytest.raises(StudyError, match="no study"):
            find_run(Selection(name))


def test_a_path_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert refusal(Selection("none.yaml")) == ["none.yaml  no such file", "1 error"]
    (tmp_path / "nine.yaml").mkdir()
    (tmp_path / "nona.tables.yaml").touch()
    assert refusal(Selection("none.yaml")) == ["none.yaml  no such file", "1 error"]
    assert refusal(Selection("nine.yaml")) == ["nine.yaml  a folder, not a study file", "1 error"]


@pytest.mark.parametrize(
    ("name", "file"),
    [("small", "small.yaml"), ("./small", "small.yaml"), ("smal", "small.yaml"), ("sub/b", "sub/b.yml")],
)
def test_a_name_of_a_file_that_lies_here_is_answered_with_its_path(
    small: str, tmp_path: Path, name: str, file: str
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.yml").touch()
    assert refusal(Selection(name)) == [f'STUDY  no study "{name}" in studies/, did you mean "{file}"?', "1 error"]


# ---- what has been run


def test_a_planned_study_is_found_without_reading_its_file(small: str, tmp_path: Path) -> None:
    for typed in (Selection(small), Selection(small, smoke=True), Selection(small, overrides=("train.epochs=5",))):
        plan_file.write_plan(plan_selection(typed).to_plan_file())
        assert find_run(typed).label == plan_selection(typed).label
    Path(small).write_text("broken: [")
    assert find_run(Selection("small")).study == "small"
    assert find_run(Selection("small", scale="tiny", smoke=True)).label == "smoke"
    there = r"small@large has not been run in results; there is small, small@smoke, small@train\.epochs=5"
    with pytest.raises(UsageError, match=there):
        find_run(Selection("small", scale="large"))


# ---- the options themselves


def test_options_become_a_selection() -> None:
    got: list[Selection] = []

    @click.command()
    @study_argument
    @selection_options
    @results_option
    def verb(**chosen: object) -> None:
        got.append(Selection(**chosen))  # type: ignore[arg-type]

    line = "s --scale gpu --set a=1 --set b=2 --only x=1 --only y=2 --seeds 0,1 --smoke --results out"
    typed = line.split()
    assert CliRunner().invoke(verb, typed, catch_exceptions=False).exit_code == 0
    assert CliRunner(env={"DYNVIT_RESULTS": "/elsewhere"}).invoke(verb, ["s"], catch_exceptions=False).exit_code == 0
    assert got == [
        Selection("s", Path("out"), "gpu", ("a=1", "b=2"), True, ("x=1", "y=2"), "0,1"),
        Selection("s", Path("/elsewhere")),
    ]


def test_a_verb_that_reads_needs_neither_yaml_nor_the_study_language() -> None:
    code = (
        "import sys; from pathlib import Path; from studies.engine.planning.selection import Selection\n"
        "from studies.engine.cli.study_lookup import find_run, UsageError\n"
        "try: find_run(Selection('redundancy_ablation', results=Path('/nowhere')))\n"
        "except UsageError as error: pass\n"
        "print([m for m in ('torch', 'pandas', 'pydantic', 'rich', 'yaml') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_a_setting_of_one_part_is_stronger_than_that_of_all_whatever_their_order(small: str) -> None:
    typed = ("net.train.epochs=3", "train.epochs=7")
    for overrides in (typed, typed[::-1]):
        plan = plan_selection(Selection(small, overrides=overrides))
        assert {(t.arm.part, t.config["train"]["epochs"]) for t in plan.trials} == {("net", 3), ("rate", 7)}


class CountedParts(tuple[Part, ...]):
    """Parts that count how often all of them are walked through."""

    walks = 0

    def __iter__(self) -> Iterator[Part]:
        type(self).walks += 1
        return super().__iter__()


@pytest.mark.parametrize("number", [3, 30])
def test_parts_are_not_walked_through_once_for_each_part(number: int, tmp_path: Path) -> None:
    text = "study: small\ntask: task.py\nseeds: [0]\nparts:\n"
    study = parser.load(write(tmp_path, text + "".join(f"  p{i}: {{}}\n" for i in range(number))))
    scaled = replace(study.at(""), parts=CountedParts(study.at("").parts))
    counted = replace(study, scaled={"": scaled})
    CountedParts.walks = 0
    assert len(counted.arms("", (("train.lr", 0.3),))) == number
    assert list(override_problems(counted, "", [("train.lr", 0.3)])) == []
    assert CountedParts.walks <= 8
