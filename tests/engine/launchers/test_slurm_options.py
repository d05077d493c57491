"""SLURM's options, from study, profile and command line, and the sbatch file they make; no SLURM needed."""

from __future__ import annotations

import shlex
from pathlib import Path

import golden_text
import pytest
from click.testing import CliRunner
from study_text import STUDY, TASK

from studies.engine.cli.main import cli
from studies.engine.core.trial import Resources
from studies.engine.jobs.launcher import LaunchError
from studies.engine.launchers.slurm import options as _slurm_options
from studies.engine.launchers.slurm import sbatch
from studies.engine.launchers.slurm.options import Options

CODE = Path("/results/code/0123456789ab")


def read(**given: object) -> tuple[Options, list[str]]:
    found: list[object] = []
    options = _slurm_options.read_options(given, found)  # type: ignore[arg-type]
    return options, [f"{'.'.join(map(str, m.path))}: {m.text}" for m in found]  # type: ignore[attr-defined]


def parameters(resources: Resources, trials: int | None = None, **given: object) -> dict[str, object]:
    options, problems = read(**given)
    assert problems == []
    return sbatch.array_request(resources, options, "name", CODE, trials).parameters


def test_what_is_ours_and_what_is_sbatch_s() -> None:
    options, problems = read(
        partition="gpu", mail_user="me", modules="cuda/12", time="2-12", sbatch={"tres_per_task": "x"}
    )
    assert problems == []
    assert options.modules == ("cuda/12",)
    assert options.sbatch == {"partition": "gpu", "mail-user": "me", "tres-per-task": "x"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"partion": "gpu"}, 'partion: no option of sbatch or ours, did you mean "partition"?'),
        ({"mail_usr": "me"}, 'mail_usr: no option of sbatch or ours, did you mean "mail_user"?'),
        ({"cpus-per-task": 4}, "cpus-per-task: cpus-per-task comes from resources.cpus"),
        ({"time": "1 h"}, 'time: "1 h" is no time as sbatch writes it, like 90, 1:30:00 or 2-12'),
        ({"pack": 0}, "pack: 0 is too little"),
        ({"pack": "two"}, 'pack: "two" is not a whole number or null'),
        ({"setup": 3}, "setup: 3 is not a list"),
        ({"qos": ["a"]}, 'qos: ["a"] is not one value'),
        ({"sbatch": {"array": 3}}, "sbatch.array: array has one task per trial; `throttle` limits it"),
        ({"sbatch": {"time": 3}}, "sbatch.time: time is given next to `sbatch`, not in it"),
        ({"sbatch": {"x y": 1}}, 'sbatch.x y: "x y" is no name of an option'),
        ({"comment": "a\n#SBATCH --uid=0"}, "comment: a line break or control character cannot be part of an option"),
        ({"sbatch": {"x": "a\0"}}, "sbatch.x: a line break or control character cannot be part of an option"),
        ({"cpus_per_gpu": 1, "cpus-per-gpu": 2}, "cpus-per-gpu: cpus-per-gpu twice, with dashes and with underscores"),
        ({"sbatch": {"a-b": "1", "a_b": "2"}}, ["sbatch.a-b: a-b twice", "sbatch.a_b: a-b twice"]),
        ({"partition": "a", "sbatch": {"partition": "b"}}, "sbatch.partition: partition twice"),
        ({"partition": True}, "partition: true is not text; in quotes it is"),
        ({"sbatch": {"mail_user": False}}, "sbatch.mail_user: false is not text; in quotes it is"),
        ({"mem": True}, "mem: true is not text; in quotes it is"),
        ({"hold": "1"}, 'hold: "1" is not true or false'),
        ({"no_requeue": "yes"}, 'no_requeue: "yes" is not true or false'),
        ({"signal_seconds": 70000, "time": 0}, "signal_seconds: 70000 is more than sbatch takes, 65535"),
    ],
)
def test_what_is_wrong(given: dict[str, object], said: str | list[str]) -> None:
    assert read(**given)[1] == ([said] if isinstance(said, str) else said)


def test_flags_of_sbatch_are_true_or_false_and_some_take_text_too() -> None:
    given = {"hold": True, "exclusive": "user", "nice": True}
    asked = parameters(Resources(), **given, reboot=False)
    assert asked["additional_parameters"] == {"requeue": True, **given}


@pytest.mark.parametrize(
    ("time", "minutes"), [(90, 90), ("90", 90), ("1:30", 1.5), ("1:30:00", 90), ("2-12", 3600), ("1-0:30", 1470)]
)
def test_times(time: str | int, minutes: float) -> None:
    assert _slurm_options.parse_minutes(time) == minutes


def test_resources_become_what_sbatch_is_asked_for() -> None:
    asked = parameters(Resources(gpus=2, nodes=2, cpus=4, memory_gb=16, minutes=90))
    assert (asked["nodes"], asked["ntasks_per_node"], asked["gpus_per_node"], asked["cpus_per_task"]) == (2, 2, 2, 4)
    assert (asked["mem"], asked["time"]) == ("16384MB", 90)
    assert parameters(Resources())["time"] == 60 and parameters(Resources(minutes=5), time="0:10:00")["time"] == 10


def test_trials_share_a_gpu_by_their_fraction() -> None:
    half = Resources(gpus=0.5, cpus=3, memory_gb=4)
    asked = parameters(half)
    assert (sbatch.trials_per_job(half, Options()), asked["gpus_per_node"], asked["cpus_per_task"]) == (2, 1, 6)
    assert asked["mem"] == "8192MB"
    assert parameters(half, trials=1)["cpus_per_task"] == 3  # a single one does not ask for two
    assert parameters(Resources(gpus=1), pack=4)["gpus_per_node"] == 4
    assert "gpus_per_node" not in parameters(half, gres="gpu:a100:1")
    assert parameters(Resources(cpus=2), pack=5)["cpus_per_task"] == 10


def test_a_container_and_the_site_s_own_words() -> None:
    options, _ = read(container="apptainer exec --nv image.sif", no_requeue=True, exclusive=True, requeue=None)
    assert sbatch.python(options) == "apptainer exec --nv image.sif python3"
    asked = sbatch.array_request(Resources(), options, "name", CODE).parameters
    assert asked["additional_parameters"] == {"no-requeue": True, "exclusive": True}
    assert asked["setup"] == [f"export PYTHONPATH={CODE} PYTHONSAFEPATH=1"]  # packages of this machine are not its own


# ---- from files and the command line

SLURM = """
resources:
  gpus: 0.5
  cpus: 4
  minutes: 45
  launcher:
    slurm: {partition: gpu, constraint: a100, modules: [cuda/12.4]}
"""


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "config/dynvit/clusters").mkdir(parents=True)
    (tmp_path / "task.py").write_text(TASK)
    file = tmp_path / "small.yaml"
    file.write_text(STUDY.replace("resources: {cpus: 2, retries: 2}\n", "") + SLURM)
    return file


def plan(study: Path, *arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(cli, ["plan", study.name, *arguments], standalone_mode=False)
    output = done.output + (str(done.exception) if done.exception else "")
    return int(done.return_value or 0) if done.exception is None else 2, output


def profile(tmp_path: Path, text: str) -> None:
    (tmp_path / "config/dynvit/clusters/site.yaml").write_text(text)


def test_the_sbatch_text(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/opt/python")
    profile(tmp_path, "account: abc\npartition: site\nsetup: [ulimit -n 4096]\nthrottle: 4\n")
    code, text = plan(study, "--sbatch", "--cluster", "site", "--launch", "constraint=h100", "--launch", "time=1:30:00")
    assert code == 0, text
    golden_text.same("sbatch.txt", text.replace(str(tmp_path), "/here"))


def test_a_wrong_profile_and_a_wrong_command_line_at_once(study: Path, tmp_path: Path) -> None:
    profile(tmp_path, "account: abc\npartitoin: site\nthrottle: many\n")
    code, text = plan(study, "--sbatch", "--cluster", "site", "--launch", "constrant=h100")
    assert code == 2
    assert 'site.yaml:2:1  partitoin: no option of sbatch or ours, did you mean "partition"?' in text
    assert 'site.yaml:3:11  throttle: "many" is not a whole number or null' in text
    assert '--launch  constrant: no option of sbatch or ours, did you mean "constraint"?' in text
    assert text.rstrip().endswith("3 errors")


def test_a_profile_that_is_not_there(study: Path, tmp_path: Path) -> None:
    profile(tmp_path, "account: abc\n")
    assert "no profile sit in" in plan(study, "--sbatch", "--cluster", "sit")[1]
    assert 'did you mean "site"?' in plan(study, "--sbatch", "--cluster", "sit")[1]
    assert "no such file ./nowhere.yaml" in plan(study, "--sbatch", "--cluster", "./nowhere.yaml")[1]


def test_a_study_that_names_what_no_sbatch_knows(study: Path) -> None:
    study.write_text(study.read_text().replace("constraint", "constrant") + "    slrm: {}\n")
    code, text = plan(study)
    lines = study.read_text().splitlines()
    line = next(i for i, text_ in enumerate(lines, 1) if "constrant" in text_)
    assert code == 2
    assert f"small.yaml:{line}:29  resources.launcher.slurm.constrant: no option of sbatch or ours" in text
    assert f'small.yaml:{line + 1}:5  resources.launcher.slrm: no launcher slrm, did you mean "slurm"?' in text


# ---- text that must not change on its way

AS_TYPED = {
    "account": "012345", "qos": "007", "partition": "1e3", "reservation": "0x1A", "constraint": "1.10", "comment": "~x",
    "wckey": "+7", "nice": "010", "begin": "2027-01-01", "licenses": "1_000", "mcs_label": "off", "gres": "0o17",
    "core_spec": "1.0",
}  # fmt: skip


def typed(text: str, key: str) -> str:
    """The value of an option in the text of an sbatch file."""
    (value,) = (
        shlex.split(line.split("=", 1)[1])[0] for line in text.splitlines() if line.startswith(f"#SBATCH --{key}=")
    )
    return value


@pytest.mark.parametrize("place", ["study", "scale", "profile", "command line"])
def test_sbatch_gets_its_options_as_they_are_typed(study: Path, tmp_path: Path, place: str) -> None:
    here = ", ".join(f"{key}: {value}" for key, value in AS_TYPED.items())
    text, arguments = study.read_text(), []
    if place == "study":
        text = text.replace("constraint: a100, modules: [cuda/12.4]", here).replace("partition: gpu, ", "")
    elif place == "scale":
        text = text.replace("scales:\n", f"scales:\n  big: {{resources: {{launcher: {{slurm: {{{here}}}}}}}}}\n", 1)
        arguments = ["--scale", "big"]
    elif place == "profile":
        profile(tmp_path, "".join(f"{key}: {value}\n" for key, value in AS_TYPED.items()))
        arguments = ["--cluster", "site"]
    else:
        arguments = [part for key, value in AS_TYPED.items() for part in ("--launch", f"{key}={value}")]
    study.write_text(text)
    code, output = plan(study, "--sbatch", *arguments)
    assert code == 0, output
    assert {key: typed(output, key.replace("_", "-")) for key in AS_TYPED} == AS_TYPED


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"mem": "1.5G"}, "is no amount of memory as sbatch writes it: a whole number and K, M, G or T, like 1536M"),
        ({"mem": "16Gi"}, 'mem: "16Gi" is no amount of memory as sbatch writes it'),
        ({"mem_per_cpu": "16 GB"}, 'like 16G'),
        ({"mem-per-gpu": "lots"}, 'like 16G'),
        ({"tmp": "-1"}, 'like 16G'),
        ({"sbatch": {"mem": "2.5TiB"}}, 'like 2560G'),
        ({"mem": "\u0663G"}, "no amount of memory"),
        ({"mem": 1.5}, "like 16G"),
        ({"time": 1}, "time: 60 s are not above signal_seconds 90: a job would be told to save when it starts"),
        ({"time": "0:20"}, "time: 60 s are not above signal_seconds 90"),
        ({"time": "1:30", "signal_seconds": 120}, "time: 120 s are not above signal_seconds 120"),
    ],
)  # fmt: skip
def test_amounts_that_slurm_would_misread(given: dict[str, object], text: str) -> None:
    (problem,) = read(**given)[1]
    assert text in problem


def test_amounts_that_slurm_reads() -> None:
    for amount in ("16G", "16GB", "512", 512, "0", "4t", "100kb"):
        assert read(mem=amount)[1] == []
    for time in (0, "0", "UNLIMITED", "infinite"):
        assert parameters(Resources(minutes=5), time=time)["time"] == 0
    assert parameters(Resources(), time="1:30")["time"] == 2
    with pytest.raises(LaunchError, match="time limit: 60 s are not above signal_seconds 90"):
        parameters(Resources(minutes=1))


def test_no_requeue_false_is_the_default() -> None:
    more = parameters(Resources(), no_requeue=False)["additional_parameters"]
    assert more == parameters(Resources())["additional_parameters"] == {"requeue": True}


@pytest.mark.parametrize("given", [("--launch", "signal_seconds=4000"), ("--cluster", "x" * 300 + "/y.yaml")])
def test_what_only_the_sbatch_file_shows_is_said_in_a_line(study: Path, given: tuple[str, str]) -> None:
    done = CliRunner().invoke(cli, ["plan", str(study), "--on", "slurm", "--sbatch", *given])
    assert (done.exit_code, type(done.exception)) == (2, SystemExit), done.output
    assert "signal_seconds 4000" in done.output or "no such file" in done.output
