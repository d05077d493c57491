"""Study files that would expand beyond all measure are refused before anything is expanded."""

from __future__ import annotations

from pathlib import Path

import pytest
from study_text import STUDY, write

from studies.engine.core.errors import StudyError
from studies.engine.planning.launcher_options import check_document, options
from studies.engine.study import design, parser, study_files

HEAD = "study: small\ntask: task.py\nseeds: [0]\n"


def axes(number: int, levels: int) -> str:
    keys = ("epochs", "lr", "warmup") * number
    lines = [
        f"  a{i}: {{key: train.{key}, values: [{', '.join(map(str, range(levels)))}], baseline: 0}}"
        for i, key in zip(range(number), keys, strict=False)
    ]
    return "axes:\n" + "\n".join(lines) + "\n"


def listed(number: int) -> str:
    return "[" + ", ".join(map(str, range(number))) + "]"


CHAIN = "".join(
    f"  a{i}: {{key: train.lr, values: [0, 1], baseline: 0, only: {{a{max(i - 1, 0)}: 1}}}}\n" for i in range(2000)
)
CASES = {
    "arms": (HEAD + axes(3, 216) + "design: [{grid: [a0, a1, a2]}]\n", "design: 10077696 arms, at most 20000"),
    "seeds": (HEAD.replace("[0]", listed(90_000)), "seeds: 90000 seeds, at most 1000"),
    "trials": (
        HEAD.replace("[0]", listed(1000)) + axes(2, 100) + "design: [{grid: [a0, a1]}]\n",
        "seeds: 10000000 trials, at most 100000",
    ),
    "levels": (HEAD + axes(1, 10_000), "axes.a0.values: 10000 levels, at most 1000"),
    "levels of a block": (
        HEAD + axes(1, 2) + f"design: [{{grid: {{a0: {listed(10_000)}}}}}]\n",
        "design[0].grid.a0: 10000 levels, at most 1000",
    ),
    "exclude": (
        HEAD + axes(1, 2) + "exclude: [" + ", ".join(["{a0: 1}"] * 2000) + "]\n",
        "exclude: 2000 entries, at most 1000",
    ),
    "a chain of axes": (HEAD + "axes:\n" + CHAIN, "axes: 2000 axes, at most 50"),
    "a long task": (HEAD.replace("task.py", "t" * 5000), "task: no task ttt"),
    "a long path": (HEAD.replace("task.py", "t" * 5000 + ".py"), "task: no task file "),
    "a path with a null": (HEAD.replace("task.py", r'"a\0.py"'), "task: "),
    "a long name": (HEAD + f"scales: {{{'s' * 500}: {{}}}}\n", "a name of 500 letters, at most 100"),
    "a seed of 90 digits": (HEAD.replace("[0]", f"[{'9' * 90}]"), "seeds[0]: a seed is at most 9007199254740991"),
    "a seed that no float holds": (HEAD.replace("[0]", f"[{2**53}]"), "seeds[0]: a seed is at most"),
    "no task": (HEAD.replace("task.py", "''"), "task: no task is named"),
    "an unknown option of Ray": (HEAD + "resources: {launcher: {ray: {num_cpu: 1}}}\n", 'did you mean "num_cpus"?'),
    "an option of Ray twice": (
        HEAD + "resources: {launcher: {ray: {num_cpus: 1, num-cpus: 2}}}\n",
        "resources.launcher.ray.num-cpus: num_cpus twice",
    ),
    "an option of inline": (
        HEAD + "scales: {a: {resources: {launcher: {inline: {x: 1}}}}}\n",
        "scales.a.resources.launcher.inline.x: no option of inline: it has none",
    ),
    "an option of Ray": (HEAD + "resources: {launcher: {ray: {num_cpus: abc}}}\n", '"abc" is not a whole number'),
}


@pytest.mark.parametrize("case", CASES)
def test_a_file_beyond_the_limits_is_refused_with_its_place(case: str, tmp_path: Path) -> None:
    text, expected = CASES[case]
    _, problems = parser.draft(write(tmp_path, text), further=[check_document])
    assert len(problems) == 1 or case == "a chain of axes", problems
    assert expected in str(problems[0])
    assert problems[0].line > 0


@pytest.mark.parametrize(
    ("block", "arms"),
    [
        ("{grid: [a0, a1]}", 16),
        ("{grid: {a0: [1, 2], a1: [0, 1]}}", 5),
        ("{one_at_a_time: [a0, a1]}", 7),
        ("{arms: [{a0: 1}, {a1: 2}]}", 3),
    ],
)
def test_what_is_counted_before_expanding_is_what_there_is(block: str, arms: int, tmp_path: Path) -> None:
    study, problems = parser.draft(write(tmp_path, HEAD + axes(2, 4) + f"design: [{block}]\n"))
    assert study is not None, problems
    (part,) = study.at("").parts
    assert design.size(part) == len(design.expand(part)) == arms


def test_a_study_name_that_no_file_system_takes_is_unknown() -> None:
    with pytest.raises(StudyError, match="no such file"):
        study_files.find("s" * 5000 + ".yaml")


@pytest.mark.parametrize(
    ("launcher", "typed", "said"),
    [
        ("ray", ["num_cpus=abc"], 'num_cpus: "abc" is not a whole number'),
        ("ray", ["num-gpus=abc"], 'num-gpus: "abc" is not a whole number'),
        ("ray", ["gpus=1"], 'gpus: no option of ray, did you mean "num_gpus"?'),
        ("ray", ["partition=a"], "partition: no option of ray, there are num_cpus, num_gpus, address"),
        ("ray", ["num_cpus=1", "num-cpus=2"], "num_cpus: given twice"),
        ("slurm", ["qos=a", "qos=b"], "qos: given twice"),
        ("inline", ["x=1"], "x: no option of inline: it has none"),
        ("local", ["num_cpus=1"], "num_cpus: no option of local: it has none"),
    ],
)
def test_an_option_of_the_launcher_on_the_command_line_is_checked(launcher: str, typed: list[str], said: str) -> None:
    with pytest.raises(StudyError) as refused:
        options([], launcher, None, typed)
    assert f"--launch  {said}" in str(refused.value)


@pytest.mark.parametrize("name", ["trials", "code", "slurm", "mlartifacts", "mlflow.db", "mlflow.db.lock"])
def test_a_study_does_not_take_the_place_of_what_lies_beside_it(name: str, tmp_path: Path) -> None:
    file = write(tmp_path, STUDY.replace("study: small", f"study: {name}"), name)
    with pytest.raises(StudyError, match="the name of something else in the results folder"):
        parser.load(file)
