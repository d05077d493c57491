"""Options of the benchmark scripts: what is asked for is measured, and said."""

from __future__ import annotations

import argparse
import importlib
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


def script(name: str, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    """The script as a module, with a command line."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
    return importlib.import_module(name)


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("reducers_speed", ["pitom"], "no method pitom; there are pitome, tofu, tome"),
        ("mor_vit_speed", ["--only", "tokens"], "no case contains 'tokens'; there are expert 0.4 frozen"),
    ],
)
def test_a_name_of_nothing_is_refused(
    name: str, arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was an empty table."""
    with pytest.raises(SystemExit, match="2"):
        script(name, monkeypatch, *arguments).main()
    assert words in capsys.readouterr().err


def test_several_processes_train_as_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """They ran with one thread each, whatever was asked for."""
    given = ["--threads=3", "--batch=8", "--device=cpu", "--warmup=1", "--seconds=2.5", "--full", "--compile"]
    training = script("training_speed", monkeypatch, *given)
    asked = vars(training.arguments())
    monkeypatch.setattr(sys, "argv", training.one_of_several(training.arguments(), "/data")[1:])
    assert vars(training.arguments()) == {**asked, "root": "/data"}


def test_one_repeat_has_quartiles(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """All was timed, and the table raised StatisticsError."""
    script("tpc_vit_speed", monkeypatch).show({"trunk": [0.004], "half": [0.002]}, {"trunk": 2.0, "half": 1.0})
    assert "4.0..4.0" in (printed := capsys.readouterr().out) and "2.000      2.000   1.000" in printed


def test_a_session_of_skipped_steps_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As with --data forgotten where the campaign alone was to run: there is no log to shorten."""
    others = ["correctness", "eager", "graph", "compiled", "training"]
    given = ["--out", str(tmp_path), "--device", "cpu", "--skip", *others]
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert script("on_gpu", monkeypatch, *given).main() == 0
    finally:
        signal.signal(signal.SIGTERM, before)
    (folder,) = tmp_path.iterdir()
    assert "skipped: no --data" in (folder / "README.md").read_text()


def test_results_of_an_earlier_run_stay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """They were deleted before the first step began."""
    device = script("on_gpu", monkeypatch).about(argparse.Namespace(device="cpu", rehearse=False, commit=""))["device"]
    earlier = tmp_path / re.sub(r"[^a-z0-9]+", "-", str(device).lower()).strip("-") / "speed.csv"
    earlier.parent.mkdir()
    earlier.write_text("minutes of a GPU")
    with pytest.raises(SystemExit, match=r"speed\.csv of an earlier run: move it"):
        script("on_gpu", monkeypatch, "--out", str(tmp_path), "--device", "cpu").main()
    assert earlier.read_text() == "minutes of a GPU"
