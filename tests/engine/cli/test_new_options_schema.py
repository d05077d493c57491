"""`new`, `options`, `schema`, `--version`, completion: what helps to write a study."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result

from paper_tables.core.yaml_loader import load_yaml
from studies.engine.catalog import description
from studies.engine.catalog.dataclass_schema import descriptions
from studies.engine.cli.commands.new import KINDS
from studies.engine.cli.main import COMMANDS, cli
from studies.engine.cli.schema_files import schema
from studies.engine.core import yaml_loader
from studies.engine.core.trial import keeps_text
from studies.engine.study import parser
from studies.engine.study.schema import AxisSpec, BlockSpec, PartSpec, ScaleSpec, StudyFile

ROOT = Path(__file__).parents[3]
STUDIES = sorted((ROOT / "studies").glob("*.yaml"))
TABLES = [file for file in sorted((ROOT / "paper_tables").glob("*.yaml")) if file.name != "claims.yaml"]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


# ---- new


@pytest.mark.parametrize("template", KINDS)
def test_a_new_study_is_valid_and_its_files_fit_their_schemas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, template: str
) -> None:
    monkeypatch.chdir(tmp_path)
    made = run("new", "mine", "--template", template, "--json")
    assert made.exit_code == 0, made.output
    study, problems = parser.draft(Path("studies/mine.yaml"))
    assert study is not None
    assert not problems
    for kind, file in (("study", "mine.yaml"), ("table", "mine.tables.yaml")):
        first, text = (Path("studies") / file).read_text().split("\n", 1)
        named = Path("studies") / first.partition("$schema=")[2]
        jsonschema.validate(yaml.safe_load(text), json.loads(named.read_text()))
        assert named.stem == kind
    listed = {row["study"]: row for row in json.loads(run("list", "--json").stdout)}
    assert not listed["mine"]["errors"]
    assert "mine.tables" not in listed


def test_nothing_is_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("studies").mkdir()
    Path("studies/mine.yaml").write_text("my own\n")
    assert "studies/mine.yaml is there already" in run("new", "mine").output
    assert Path("studies/mine.yaml").read_text() == "my own\n"
    assert "would hide" in run("new", "sret").output
    assert "a study's name" in run("new", "../x").output
    for name in ("1", "null", "true", "1e3", "0x10"):
        assert "would read this as no text" in run("new", name).output
    assert "a study's name of 300 letters: at most 100" in run("new", 300 * "a").output
    assert [file.name for file in Path("studies").iterdir()] == ["mine.yaml"]


# ---- options


@pytest.mark.parametrize(
    ("names", "known"),
    [
        ((), "classify"),
        (("classify",), "train.lr"),
        (("classify", "train.mix"), "train.mix.cutmix"),
        (("cost",), "timing.rounds"),
        (("study",), "axes.AXIS.baseline"),
        (("table",), "claims"),
        (("evit_deit_tiny_patch16_224",), "keep_rate"),
        (("reducer",), "pitome"),
        (("reducer", "pitome"), "ratio"),
        (("recipe", "deit"), "train.epochs"),
        (("launcher", "slurm"), "throttle"),
        (("launcher", "ray"), "address"),
    ],
)
def test_options_are_listed(names: tuple[str, ...], known: str) -> None:
    shown = run("options", *names)
    assert shown.exit_code == 0, shown.output
    assert known in shown.output
    found = json.loads(run("options", *names, "--json").output)
    assert known in [option["name"] for option in found["options"]]


def test_options_of_a_model_have_the_variants_defaults() -> None:
    found = json.loads(run("options", "evit_deit_tiny_patch16_224", "--json").output)
    preset = description.current().description["models"]["evit_deit_tiny_patch16_224"]["preset"]
    defaults = {option["name"]: option["default"] for option in found["options"]}
    assert preset
    assert {key: defaults[key] for key in preset} == {key: json.dumps(value) for key, value in preset.items()}


@pytest.mark.parametrize(
    ("names", "nearest"),
    [
        (("clasify",), 'did you mean "classify"?'),
        (("evit_deit_tny_patch16_224",), 'did you mean "evit_deit_tiny_patch16_224"?'),
        (("tome",), "did you mean `studies options reducer tome`?"),
        (("deit",), "did you mean `studies options recipe deit`?"),
        (("reducer", "pitme"), 'did you mean "pitome"?'),
        (("classify", "trian"), 'did you mean "train'),
        (("launcher", "slrum"), 'did you mean "slurm"?'),
    ],
)
def test_a_misspelt_name_gets_the_nearest(names: tuple[str, ...], nearest: str) -> None:
    shown = run("options", *names)
    assert shown.exit_code == 2
    assert nearest in shown.output


@pytest.mark.parametrize("kind", [StudyFile, AxisSpec, BlockSpec, PartSpec, ScaleSpec])
def test_every_key_of_a_study_file_is_described(kind: type) -> None:
    assert [name for name in kind.__dataclass_fields__ if name not in descriptions(kind)] == []


def test_learning_rate_is_lr() -> None:
    problem = run("plan", str(ROOT / "studies" / "sret.yaml"), "--set", "train.learning_rate=1").output
    assert 'did you mean "train.lr"?' in problem


# ---- schemas


def test_a_misspelt_schema_gets_the_nearest() -> None:
    assert 'no schema stdy, did you mean "study"?' in run("schema", "stdy").output
    assert "no schema x, there are study, table" in run("schema", "x").output


@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.stem)
def test_shipped_studies_fit_the_schema(file: Path) -> None:
    jsonschema.Draft7Validator(schema("study")).validate(yaml_loader.read(file, keeps_text).value)


@pytest.mark.parametrize("file", TABLES, ids=lambda file: file.stem)
def test_shipped_table_files_fit_the_schema(file: Path) -> None:
    jsonschema.Draft202012Validator(schema("table")).validate(load_yaml(file).data)


SMALL = {"study": "x", "task": "classify", "seeds": [0], "base": {"train": {"epochs": 1}}}


@pytest.mark.parametrize(
    "wrong",
    [
        {"sedes": [1]},
        {"task": "clasify"},
        {"base": {"train": {"epoch": 1}}},
        {"base": {"train.epoch": 1}},
        {"base": {"train": {"epochs": "many"}}},
        {"scales": {"gpu": {"trian": {}}}},
        {"parts": {"a": {"axis": {}}}},
        {"axes": {"a": {"values": [1], "baselin": 1}}},
        {"resources": {"gpu": 1}},
    ],
    ids=str,
)
def test_a_misspelt_key_does_not_fit(wrong: dict) -> None:
    check = jsonschema.Draft7Validator(schema("study"))
    check.validate(SMALL)
    assert not check.is_valid({**SMALL, **wrong})
    table = jsonschema.Draft202012Validator(schema("table"))
    table.validate({"study": "x", "tables": []})
    assert not table.is_valid({"study": "x", "tabels": []})


# ---- all verbs


def test_every_verb_has_json_and_a_help_text() -> None:
    context = cli.make_context("studies", ["list"])
    commands = {name: cli.get_command(context, name) for name in COMMANDS}
    options = {name: [o for p in command.params for o in p.opts] for name, command in commands.items() if command}
    assert [name for name in COMMANDS if "--json" not in options[name]] == []
    assert [name for name, command in commands.items() if not (command and command.help)] == []


def test_the_version_has_the_commit() -> None:
    shown = run("--version").output
    assert shown.startswith("dynvit 0.")
    assert "commit " in shown


# ---- completion


def complete(arguments: list[str], begun: str) -> list[str]:
    found = ShellComplete(cli, {}, "studies", "_STUDIES_COMPLETE").get_completions(arguments, begun)
    return [item.value for item in found]


def test_the_shell_offers_studies_axes_scales_and_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "show" in complete([], "sh")
    assert complete(["run"], "sr") == ["sret"]
    assert "slices=paper" in complete(["plan", "redundancy_ablation", "--only"], "sl")
    assert "part=sret" in complete(["run", "redundancy_ablation", "--only"], "part=")
    assert complete(["run", "redundancy_ablation", "--scale"], "g") == ["gpu"]
    (tmp_path / "sub").mkdir()
    for own in ("my-own.yaml", "my-own.tables.yaml", "sub/mine.yml"):
        (tmp_path / own).touch()
    assert complete(["plan"], "my") == ["my-own.yaml"]  # as docs/bring_your_own.md works, beside no studies/
    assert complete(["plan"], "./my") == ["./my-own.yaml"]
    assert complete(["plan"], "sub/") == ["sub/mine.yml"]
    (tmp_path / "results" / "trials" / "3f9c00000000").mkdir(parents=True)
    assert complete(["logs"], "3f") == ["3f9c00000000"]
    assert complete(["run", "nothing", "--only"], "") == []
