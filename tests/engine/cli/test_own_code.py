"""Own code of a study: copied when a run starts, stale when edited, never mixed in silence, part of an export."""

from __future__ import annotations

import csv
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import own_study
import pytest
from click.testing import CliRunner

from studies.engine.cli.main import cli
from studies.engine.cli.options import UsageError
from studies.engine.storage.results_dir import Store

Typed = Callable[..., str]


@pytest.fixture
def studies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Typed:
    """Types a command in the folder of the study; returns what it prints, and checks its exit code."""
    monkeypatch.chdir(tmp_path)
    for write in ("update", "close"):
        monkeypatch.setattr(f"studies.engine.tracking.mirror.Mirror.{write}", lambda self: True)

    def type_(*words: str, code: int = 0) -> str:
        done = CliRunner().invoke(cli, words, standalone_mode=False)
        if isinstance(done.exception, Exception):
            raise done.exception
        assert done.return_value == code, done.output
        return done.output

    own_study.write(tmp_path)
    return type_


def scores(folder: Path) -> list[float]:
    with open(folder / "results" / "own" / "trials.csv") as file:
        return [float(row["metric.score"]) for row in csv.DictReader(file)]


RUN = ("run", "own.yaml", "--on", "inline")


def test_an_edit_is_stale_named_and_never_mixed_in_silence(studies: Typed, tmp_path: Path) -> None:
    studies(*RUN)
    assert scores(tmp_path) == [3.0, 3.0, 6.0, 6.0]
    trial = next(Store(tmp_path / "results").trials.iterdir())
    spec = json.loads((trial / "spec.json").read_text())
    assert spec["imports"] == ["mine.py"]
    assert (tmp_path / "results" / spec["own"] / "helper.py").read_text() == "VALUE = 3.0\n"
    assert "stale " not in studies("plan", "own.yaml").replace("stale code 0", "")

    own_study.edit(tmp_path, 5.0)
    because = "stale     4 done trials ran before an edit of own code: helper.py; `--rerun stale` trains them again"
    assert because in studies("plan", "own.yaml")
    out = studies(*RUN)
    assert because in out and "nothing to run" in out
    assert scores(tmp_path) == [3.0, 3.0, 6.0, 6.0]

    studies(*RUN, "--rerun", "stale", "--only", "depth=2")
    assert scores(tmp_path) == [3.0, 3.0, 10.0, 10.0]
    said, own = "these runs are of 2 versions of own code", tmp_path / "results" / "own"
    assert any(said in file.read_text() for file in (own / "tables").glob("*.md"))
    assert all(said in (own / name).read_text() for name in ("report.html", "reproducibility.md"))
    studies(*RUN, "--rerun", "stale")
    assert scores(tmp_path) == [5.0, 5.0, 10.0, 10.0]
    texts = [file.read_text() for file in (*own.glob("tables/*.md"), *own.glob("re*.*"))]
    assert len(texts) > 2 and not any("versions of own code" in text for text in texts)


def test_a_trial_that_failed_with_a_former_version_starts_again(studies: Typed, tmp_path: Path) -> None:
    own_study.edit(tmp_path, -1.0)
    assert "ValueError: negative" in studies(*RUN, "--seeds", "0", code=1)
    own_study.edit(tmp_path, 2.0)
    assert "restart   2 trials" in studies("plan", "own.yaml")
    studies(*RUN)
    assert scores(tmp_path) == [2.0, 2.0, 4.0, 4.0]


def test_an_export_has_the_own_code_and_verify_runs_it(studies: Typed, tmp_path: Path) -> None:
    studies(*RUN)
    studies("export", "own", "-o", "own.zip")
    with zipfile.ZipFile("own.zip") as archive:
        names = [name.partition("/")[2] for name in archive.namelist()]
        readme = archive.read("own/README.md").decode()
    assert [name for name in names if name.endswith("helper.py")]
    assert "[x] One version of own code, included" in readme
    own_study.edit(tmp_path, 7.0)
    shutil.rmtree("results")
    assert "1 of 1 trials agree" in studies("verify", "own.zip", "--sample", "1")


def test_doctor_misses_a_copy_that_an_unfinished_trial_needs(studies: Typed, tmp_path: Path) -> None:
    own_study.edit(tmp_path, -1.0)
    studies(*RUN, "--seeds", "0", code=1)
    for copy in (tmp_path / "results" / "code").glob("own-*"):
        shutil.rmtree(copy)
    assert "the copy that 2 unfinished trials would import is gone" in studies("doctor", code=1)


def test_what_is_wrong_stands_at_the_entry(studies: Typed, tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    text = file.read_text()
    for entry, expected in {
        "[min.py]": 'own.yaml:5:11  imports[0]: no file min.py in ., did you mean "mine.py"?',
        "[mine.py, mine.py]": "own.yaml:5:20  imports[1]: mine.py twice",
        "mine.py": 'own.yaml:5:10  imports: "mine.py" is not a list',
        "[mine.py, {a: 1}]": 'own.yaml:5:20  imports[1]: {"a": 1} is not text',
    }.items():
        file.write_text(text.replace("[mine.py]", entry))
        with pytest.raises(UsageError) as refused:
            studies("plan", "own.yaml")
        assert str(refused.value).splitlines() == [expected, "1 error"]
    file.write_text(text)
    (tmp_path / "mine.py").write_text("import helper\nprint(nothing)\n")
    with pytest.raises(UsageError) as refused:
        studies("plan", "own.yaml")
    first, *others = str(refused.value).splitlines()
    assert first.startswith("own.yaml:5:11  imports[0]: ") and others == ["1 error"]
    assert "mine.py, line 2: NameError: name 'nothing' is not defined" in first
