"""Study files: what a right one becomes, and every way in which one can be wrong."""

from __future__ import annotations

from pathlib import Path

import golden_text
import pytest
from study_text import STUDY, write

from studies.engine.core.errors import StudyError
from studies.engine.core.trial import Resources
from studies.engine.study import parser, study_files
from studies.engine.study.model import Metric, Setting, Study


def load(folder: Path, text: str = STUDY) -> Study:
    return parser.load(write(folder, text))


def errors(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is said, with the file's place left out."""
    monkeypatch.chdir(folder)
    with pytest.raises(StudyError) as caught:
        load(folder, text)
    return str(caught.value)


def values(patch: tuple[Setting, ...]) -> list[tuple[str, object]]:
    return [(setting.key, setting.value) for setting in patch]


def test_patches_are_laid_in_their_order(tmp_path: Path) -> None:
    net = load(tmp_path).at("large").parts[0]
    assert values(net.base) == [
        ("train.lr", 0.2),
        ("train.epochs", 50),
        ("model.name", "sret_tiny"),
        ("model.base_dim", 8),
        ("model.base_dim", 64),
    ]


def test_a_scale_replaces_levels_seeds_and_resources_of_its_own_only(tmp_path: Path) -> None:
    study = load(tmp_path)
    tiny, large = study.at("tiny"), study.at("large")
    assert (tiny.seeds, large.seeds) == ((0, 1), (0, 1, 2))
    assert tiny.resources == Resources(cpus=2, retries=2)
    assert large.resources == Resources(cpus=2, retries=2, gpus=0.5, minutes=30.0)
    groups = [values(s.parts[0].axes["slices"].level("paper").patch) for s in (tiny, large)]
    assert groups == [[("model.groups", [[8, 2]])], [("model.groups", [[16, 4]])]]
    assert large.parts[0].axes["slices"].baseline == "paper"
    assert dict(large.parts[0].axes["slices"].only) == {"recursion": ("2", "3")}


def test_metrics_and_the_default_design(tmp_path: Path) -> None:
    study = load(tmp_path)
    assert study.metrics == {"top1": Metric("best", "max", "%"), "seconds": Metric(None, "none", "")}
    assert study.default_scale == "tiny"
    assert [(block.kind, dict(block.axes)) for block in study.at("tiny").parts[1].design] == [
        ("one_at_a_time", {"lr": ("slow", "fast")})
    ]


def test_a_study_without_parts_is_one_part_and_one_without_scales_has_one_size(tmp_path: Path) -> None:
    text = "{study: small, task: task.py, seeds: [3], axes: {lr: {key: train.lr, values: [1, 2], baseline: 1}}}"
    study = load(tmp_path, text)
    assert (study.default_scale, study.scales) == ("", ())
    assert [(p.name, list(p.axes)) for p in study.at("").parts] == [("small", ["lr"])]


def test_levels_are_found_by_value_however_the_number_is_spelt(tmp_path: Path) -> None:
    text = STUDY.replace("values: [1, 2, 3], baseline: 2", "values: [1, 2.0, 3], baseline: 2").replace(
        "[2, 3]}", "[2, 3.0]}"
    )
    axes = load(tmp_path, text).at("tiny").parts[0].axes
    assert (axes["recursion"].baseline, axes["slices"].only["recursion"]) == ("2.0", ("2.0", "3"))


def test_off_and_none_stay_labels(tmp_path: Path) -> None:
    lr = "values: {slow: 0.01, fast: 1}, baseline: slow"
    study = load(tmp_path, STUDY.replace(lr, "values: {off: 0.01, none: 1}, baseline: off"))
    assert study.at("tiny").parts[1].axes["lr"].labels == ("off", "none")


WRONG = """\
study: smal
title: [a, b]
task: task.py
seeds: [0, 1, 1]
base:
  train: {epoch: 3, optimizer: adam, lr: off}
scales:
  tiny: {train: 3, seeds: [2, 2], resources: {gpu: 1, cpus: 0}, sedes: [1]}
  large: {parts: {nett: {}, net: {model: {groups: 3, img_size: 8}, axes: {slice: {values: [1]}}}}}
default_scale: large_
parts:
  net:
    base: {model: {name: sret_tiny, recursoin: 2}}
    axes:
      recursion: {key: model.recursion, values: [1, 2, 3], baseline: 4}
      slices:
        values: {none: {model.groups: [[1, 1]]}, half: 3}
        baseline: none
        only: {recursions: [2]}
      deep: {key: model.dept, values: [[1, 1, 1]], baseline: [1, 1, 1]}
    design:
      - one_at_a_time: [recursion, slice]
      - grid: {}
      - {grid: [deep], arms: []}
  rate:
    base: {model: {name: sret_tin}}
    axes:
      lr: {key: train.lr, values: [], baseline: 1}
      warmup: {key: train.warmup, values: [1, 1.0], baselin: 1}
    exclude: [{warm: 3}]
metrics:
  top1: {form: best, direction: maximum}
reources: {gpus: 1}
seeds: [1]
"""


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    golden_text.same("errors.txt", errors(tmp_path, WRONG, monkeypatch) + "\n")


def test_the_three_mistakes_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = STUDY.replace("baseline: 2", "baseline: 4").replace("resources: {cpus", "reources: {cpus")
    text = text.replace("key: train.lr", "key: train.lrr")
    assert errors(tmp_path, text, monkeypatch) == (
        "small.yaml:22:70  parts.net.axes.recursion.baseline: 4 is not among the values 1, 2, 3\n"
        'small.yaml:30:17  parts.rate.axes.lr.key: the task task.py has no train.lrr, did you mean "train.lr"?\n'
        'small.yaml:34:1  reources: unknown key, did you mean "resources"?\n'
        "3 errors"
    )


DESIGN = "[one_at_a_time: [recursion, slices]]"
LR = "lr: {key: train.lr, values: {slow: 0.01, fast: 1}, baseline: slow}"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("seeds: [0, 1]\n", "seeds: []\n", "small.yaml:4:8  seeds: no seeds"),
        ("seeds: [0, 1]\n", "seeds: [0, -1]\n", "small.yaml:4:12  seeds[1]: -1 is negative"),
        ("task: task.py", "task: gone.py", "no task file"),
        ("task: task.py", "task: clasify", 'small.yaml:3:7  task: no task clasify, did you mean "classify"?'),
        ("study: small", "study: other", 'study: "other" in a file called small: studies are found by file name'),
        ("default_scale: tiny", "default_scale: tin", 'default_scale: no scale tin, did you mean "tiny"?'),
        ("default_scale: tiny\n", "", "small.yaml:6:1  scales: default_scale is missing, though there are several"),
        ("parts:\n  net:\n    base", "design: []\nparts:\n  net:\n    base", "design: belongs into a part"),
        (LR, "lr: {values: {slow: 0.01, fast: {}}, baseline: slow}", "values.slow: 0.01 is not a mapping of settings"),
        (LR, "lr: {values: [1, 2], baseline: 1}", "axes.lr: values are a list, so a key must say what they are"),
        (LR, LR.replace("fast: 1", "fast: quick"), 'axes.lr.values.fast: "quick" is not a number'),
        (LR, LR.replace("slow", "a b"), 'axes.lr.values.a b: "a b" as a level\'s name'),
        (LR, LR[:-1] + ", only: {lr: slow}}", "axes.lr.only.lr: an axis cannot depend on itself"),
        (LR, LR.replace("fast: 1", "fast: 0.01"), "arms baseline and lr=fast are the same"),
        (LR, "lr: {key: train.warmup, values: {slow: 1, fast: 3}, baseline: slow}", "arm lr=fast: train: warmup 3 is"),
        ("recursion, slices]]", "recursion, recursion]]", "one_at_a_time[1]: axis recursion twice"),
        ("[2, 3]}", "[1]}", "one_at_a_time: slices is inert at the baseline, so it would never vary"),
        (DESIGN, "[arms: [{recursion: 1, slices: none}]]", "slices is inert there: it acts"),
        (DESIGN, "[arms: []]", "design[0].arms: no arms"),
        (DESIGN, "[grid: {recursion: []}]", "grid.recursion: no levels of recursion"),
        (DESIGN, "[grid: {recursion: 4}]", "4 is not among the levels of recursion, 1, 2, 3"),
        (DESIGN, DESIGN + "\n    exclude: [{recursion: 2}]", "exclude: the baseline is excluded"),
        ("none: {model.groups: [[1, 1]]}, paper: {model.groups: [[8, 2]]}", "none: {model.recursion: 5}, paper: {}",
         "recursion and slices both set model.recursion in the arm slices=none, to different values"),
        ("cpus: 2", "gpus: 1.5", "resources.gpus: 1.5 is neither a share of one GPU nor a number of GPUs"),
        ("cpus: 2", "gpus: 2, processes: 3", "resources.processes: 3 for 2 GPUs: leave it out, it is one per GPU"),
        ("cpus: 2", "processes: 0", "resources.processes: 0 is too little"),
    ],
)  # fmt: skip
def test_single_mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, said: str) -> None:
    assert old in STUDY
    found = errors(tmp_path, STUDY.replace(old, new), monkeypatch)
    assert said in found
    assert found.splitlines()[-1] == "1 error", found


def test_axes_that_wait_for_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = STUDY.replace("label: Recursion depth", "only: {slices: paper}")
    assert "axes.recursion.only: the axes' only go round in a circle" in errors(tmp_path, text, monkeypatch)


@pytest.mark.parametrize(
    "text", ["", "- a", "a: [", "just words", "{}", "parts: 3", "scales: {a: 1}\nparts: {p: []}", "axes: {a: {}}"]
)
def test_what_is_hardly_a_study_is_refused_with_a_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    lines = errors(tmp_path, text, monkeypatch).splitlines()
    assert len(lines) > 1
    assert all(line.startswith("small.yaml:") for line in lines[:-1])


def test_a_problem_of_one_scale_is_found_while_another_is_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = STUDY.replace("model.base_dim: 64", "model.base_dims: 64")
    assert errors(tmp_path, text, monkeypatch) == (
        "small.yaml:14:9  scales.large.parts.net.model.base_dims: "
        'sret_tiny has no option base_dims, did you mean "model.base_dim"?\n'
        "1 error"
    )


def test_the_study_of_this_repository_is_right_at_every_scale() -> None:
    study = parser.load(study_files.names()["redundancy_ablation"])
    assert set(study.scales) == {"laptop", "gpu", "imagenet"}
    from studies.engine.study.design import expand

    for scale in study.scales:
        assert [(p.name, len(expand(p))) for p in study.at(scale).parts] == [
            ("sret", 9),
            ("mor_vit", 5),
            ("tpc_vit", 9),
        ]
