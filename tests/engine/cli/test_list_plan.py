"""`studies list` and `studies plan` as they are typed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import golden_text
import pytest
from click.testing import CliRunner, Result
from finished_trial import finish
from study_text import STUDY, write

from studies.engine.cli.main import cli
from studies.engine.cli.plan_report import plan_lines
from studies.engine.cli.study_lookup import plan_selection
from studies.engine.core.formatting import duration
from studies.engine.core.trial import State
from studies.engine.planning.selection import Selection
from studies.engine.storage import plan_file
from studies.engine.storage.results_dir import Store

TOY = str(Path(__file__).parents[2] / "toy_study.yaml")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The small study: planned, a few trials done, one failed, one lost."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DYNVIT_RESULTS", raising=False)
    write(tmp_path / "studies")
    made = plan_selection(Selection("small"))
    plan_file.write_plan(made.to_plan_file())
    store = Store(Path("results"))
    for trial in made.trials[:3]:
        finish(store, trial, seconds=90)
    for trial, status in ((made.trials[3], "failed"), (made.trials[4], "lost")):
        store.trial(trial.folder_id).create(trial.spec())
        store.trial(trial.folder_id).set_state(State(status, attempt=1))  # type: ignore[arg-type]
    return store


def without_free_space(text: str) -> str:
    """Drop the last line, which says how much space the disk has."""
    *lines, last = text.splitlines()
    assert last.startswith("results   ")
    assert last.endswith(" free")
    return "\n".join(lines) + "\n"


def test_the_plan_of_a_study_half_done(begun: Store) -> None:
    shown = run("plan", "small")
    assert shown.exit_code == 0
    golden_text.same("plan.txt", without_free_space(shown.output))


def test_the_plan_at_another_scale_and_of_a_few_arms(begun: Store) -> None:
    shown = run("plan", "small", "--scale", "large", "--only", "recursion=1,3", "--seeds", "0,2")
    golden_text.same("plan_large.txt", without_free_space(shown.output))
    restart = run("plan", "small", "--rerun", "all", "--only", "part=net")
    golden_text.same("plan_restart.txt", without_free_space(restart.output))


def test_the_plan_of_the_redundancy_study(tmp_path: Path) -> None:
    shown = run("plan", "redundancy_ablation", "--scale", "imagenet", "--results", str(tmp_path))
    assert shown.output.splitlines()[0] == (
        "redundancy_ablation@imagenet  3 parts, 23 arms x 5 seeds = 115 trials   (0 done, 0 failed, 115 missing)"
    )


def test_a_narrow_terminal_cuts_lines_and_a_file_gets_them_whole(begun: Store) -> None:
    made = plan_selection(Selection("small"))
    assert max(map(len, plan_lines(made, 30)[2:-4])) <= 30
    assert any(line.endswith("…") for line in plan_lines(made, 30))
    assert plan_lines(made, 200) == plan_lines(made)


def test_the_plan_for_programs(begun: Store) -> None:
    shown = json.loads(run("plan", "small", "--json").output)
    assert (shown["study"], shown["label"], shown["scale"]) == ("small", "", "tiny")
    assert len(shown["trials"]) == 12
    first, fourth = shown["trials"][0], shown["trials"][3]
    assert (first["part"], first["arm"], first["seed"], first["status"], first["run"]) == (
        "net",
        "baseline",
        0,
        "done",
        False,
    )
    assert (fourth["status"], fourth["run"], fourth["anew"]) == ("failed", True, False)
    assert first["config"]["train"]["epochs"] == 2
    assert shown["estimate"]["measured_on"] == 3


def test_a_wrong_file_ends_with_2_and_nothing_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, STUDY.replace("baseline: 2", "baseline: 4"))
    for verb in ("plan", "run"):
        done = subprocess.run(
            [sys.executable, "-m", "studies", verb, "small.yaml"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr == (
            "small.yaml:22:70  parts.net.axes.recursion.baseline: 4 is not among the values 1, 2, 3\n1 error\n"
        )
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["rnu", "redundancy_ablation"], 'no command rnu, did you mean "run"?'),
        (["plan", TOY, "--on", "rayy"], 'no launcher rayy, did you mean "ray"?'),
        (["run", TOY, "--on", "slrm"], 'no launcher slrm, did you mean "slurm"?'),
        (["plan", TOY, "--cluster", "nosuch.yaml"], "nosuch.yaml"),
        (["plan", TOY, "--sbatch", "--on", "local"], "shows what slurm would get: it does not go with --on local"),
        (["plan", TOY, "--sbatch", "--json"], "it does not go with --json"),
        (
            ["plan", "redundancy_ablation", "--set", "sret.data.augment.shift=-1"],
            "shift and cutout are numbers of pixels, not negative   [sret baseline and 10 more]",
        ),
        (["run", "redundancy_ablation", "--set", "data.name=hfds"], "--set  data: hfds needs repository"),
    ],
)
def test_a_slip_on_the_command_line_is_one_line_and_exit_code_2(
    typed: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = subprocess.run([sys.executable, "-m", "studies", *typed], capture_output=True, text=True)
    assert shown.returncode == 2
    assert message in shown.stderr
    assert "Traceback" not in shown.stderr
    assert not [*tmp_path.iterdir()]


def test_list_counts_arms_trials_and_what_is_done(begun: Store, tmp_path: Path) -> None:
    (tmp_path / "studies" / "broken.yaml").write_text("study: broken\n")
    golden_text.same("list.txt", run("list").output)
    shown = {row["study"]: row for row in json.loads(run("list", "--json").output)}
    assert shown["small"]["done"] == 3
    assert shown["small"]["failed"] == 1
    assert shown["small"]["scales"] == ["tiny", "large"]
    assert shown["broken"]["trials"] is None
    assert len(shown["broken"]["errors"]) == 2


def test_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from studies.engine.cli.main import cli;"
        "assert CliRunner().invoke(cli, ['list']).exit_code == 0;"
        "heavy = ('torch', 'timm', 'numpy', 'pandas', 'ray', 'mlflow', 'submitit', 'seaborn', 'pydantic', 'rich');"
        "print([m for m in heavy if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.1, "9.1 s"),
        (59.4, "59 s"),
        (65, "1 min 5 s"),
        (720, "12 min"),
        (3599, "1 h"),
        (17280, "4 h 48 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
