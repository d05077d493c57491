"""Study files: what a right one becomes, and every way in which one can be wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from study_text import STUDY, write

from studies.engine.core.errors import StudyError
from studies.engine.core.trial import Resources
from studies.engine.study import parser, study_files
from studies.engine.study.design import expand
from studies.engine.study.model import Study
from studies.engine.study.parts import Metric, Setting


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


def test_a_scale_may_have_a_design_of_its_own_or_skip_a_part(tmp_path: Path) -> None:
    own = "        design: [{arms: [{recursion: 3, slices: none}]}]\n      rate: {skip: true}\n"
    study = load(tmp_path, STUDY.replace("default_scale", own + "default_scale"))
    tiny, large = (
        {part.name: [p.label for p in expand(part)] for part in study.at(s).parts} for s in ("tiny", "large")
    )
    assert large == {"net": ["baseline", "recursion=3 slices=none"], "rate": []}
    assert tiny == {"net": ["baseline", "recursion=1", "recursion=3", "slices=none"], "rate": ["baseline", "lr=fast"]}
    assert [part.name for part in study.at("large").parts] == ["net", "rate"]  # tables that name it stay valid


def test_mistakes_in_a_scales_design_are_found_where_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = "        design: [{arms: [{recursion: 9}, {recursion: 1, slices: none}]}]\n"
    found = errors(tmp_path, STUDY.replace("default_scale", own + "default_scale"), monkeypatch)
    place = "scales.large.parts.net.design[0].arms"
    assert f"small.yaml:17:38  {place}[0].recursion: 9 is not among the levels of recursion, 1, 2, 3" in found
    own = own.replace("{recursion: 9}, ", "")
    found = errors(tmp_path, STUDY.replace("default_scale", own + "default_scale"), monkeypatch)
    assert f"{place}[0].slices: slices is inert there: it acts only at recursion=2|3" in found


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


def test_the_three_mistakes_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = STUDY.replace("baseline: 2", "baseline: 4").replace("resources: {cpus", "reources: {cpus")
    text = text.replace("key: train.lr", "key: train.lrr")
    assert errors(tmp_path, text, monkeypatch) == (
        "small.yaml:22:70  parts.net.axes.recursion.baseline: 4 is not among the values 1, 2, 3\n"
        'small.yaml:30:17  parts.rate.axes.lr.key: the task task.py has no train.lrr, did you mean "train.lr"?\n'
        'small.yaml:34:1  reources: unknown key, did you mean "resources"?\n'
        "3 errors"
    )


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
        controls = (2, 0, 3) if scale == "laptop" else (0, 0, 0)
        planned = zip(study.at(scale).parts, controls, strict=True)
        assert [(p.name, len(expand(p)) - more) for p, more in planned] == [("sret", 9), ("mor_vit", 5), ("tpc_vit", 9)]
