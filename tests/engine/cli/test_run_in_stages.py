"""A study with stages as a user runs it: plan, a driver killed between the stages, status, logs, export and verify."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import chain
import pytest

from studies.engine.cli import main
from studies.engine.core.trial import first_trials
from studies.engine.results.bundle.export import CHECKSUMS, checksums
from studies.engine.storage.results_dir import Store
from studies.engine.storage.trial_folder import TrialFolder

ROOT = Path(__file__).parents[3]
Studies = Callable[..., tuple[int, str]]


@pytest.fixture
def studies(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Studies:
    monkeypatch.setattr("studies.engine.tracking.mirror.Mirror.update", lambda self: True)
    monkeypatch.setattr("studies.engine.tracking.mirror.Mirror.close", lambda self: True)
    monkeypatch.setattr("studies.engine.cli.finish_run.render", lambda store, folder, say: None)
    monkeypatch.chdir(tmp_path)

    def type_(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["studies", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main.main()
        read = capsys.readouterr()
        return int(ended.value.code or 0), read.out + read.err

    return type_


def test_plan_and_run_say_stages(tmp_path: Path, studies: Studies) -> None:
    chain.write(tmp_path)
    lines = (
        "stages    1 trial, then 1 trial, then 1 trial: each starts from trials of an earlier one",
        "added     2 trials that others start from: models lr=0.05 s1, tuned baseline s1",
    )
    chosen = ("chain.yaml", "--only", "tuned.from=tuned", "--seeds", "1")
    code, out = studies("plan", *chosen)
    assert code == 0
    assert all(line in out for line in lines)
    found = json.loads(studies("plan", *chosen, "--json")[1])["trials"]
    assert sorted((t["stage"], t["part"], t["run"]) for t in found) == [
        (0, "models", True), (1, "tuned", True), (2, "tuned", True),
    ]  # fmt: skip
    code, out = studies("run", *chosen, "--on", "inline")
    assert code == 0, out
    assert all(line in out for line in lines)
    assert "done      3/3 trials" in out


def test_a_done_trial_without_weights_is_trained_again_to_the_same_numbers(tmp_path: Path, studies: Studies) -> None:
    text = chain.STUDY
    chain.write(tmp_path, text[: text.index("  tuned:")] + text[text.index("metrics:") :])
    assert studies("run", "chain.yaml", "--on", "inline", "--seeds", "0")[0] == 0
    before = {folder: (folder / "result.json").read_bytes() for folder in (tmp_path / "results/trials").iterdir()}
    chain.write(tmp_path)
    again = "again     1 trial that left no weights, which others start from: models lr=0.05 s0"
    assert again in studies("plan", "chain.yaml", "--seeds", "0")[1]
    code, out = studies("run", "chain.yaml", "--on", "inline", "--seeds", "0")
    assert (code, again in out) == (0, True), out
    (folder,) = (folder for folder in before if (folder / "attempts/1").exists())
    assert (folder / "attempts/0/result.json").read_bytes() == before[folder]
    metrics = [json.loads(data)["metrics"] for data in (before[folder], (folder / "result.json").read_bytes())]
    assert metrics[0] == metrics[1]
    assert (folder / "last.safetensors").exists()


def test_failures_are_told_by_status_and_logs(tmp_path: Path, studies: Studies) -> None:
    text = chain.STUDY.replace(
        "{{train: {{steps: 3}}}}", "{{train: {{steps: 3}}, fault: {{kind: raise, attempts: 1}}}}"
    )
    chain.write(tmp_path, text)
    chosen = ("chain.yaml", "--on", "inline", "--only", "part=tuned", "--seeds", "0")
    code, out = studies("run", *chosen)
    assert code == 1
    assert "starts from models lr=0.05 s0, which failed: ValueError: raised as configured" in out
    assert "0/4 trials, 4 failed" in out
    out = studies("status", "chain")[1]
    assert "tuned baseline s0  failed: starts from models" in out
    store = Store(tmp_path / "results")
    waited = next(f.name for f in store.trials.iterdir() if store.trial(f.name).state().attempt == 0)
    assert f"{waited} has not been started: starts from " in studies("logs", waited)[1]
    assert studies("run", *chosen)[0] == 1  # the first one works now, what starts from it fails its own first time
    assert store.trial(waited).state().attempt <= 1
    studies("run", *chosen)
    assert studies("run", *chosen)[0] == 0


@pytest.mark.parametrize("launcher", ["inline", "local"])
def test_a_driver_killed_between_the_stages_loses_nothing(tmp_path: Path, studies: Studies, launcher: str) -> None:
    hang = "models: {{fault: {{kind: hang, step: 1, attempts: 1}}}}"
    text = chain.STUDY.replace("models: {{}}", hang)
    study, store = chain.write(tmp_path, text), Store(tmp_path / "results")
    chosen = ("--on", launcher, "--seeds", "0", "--only", "tuned.from=tuned")
    command = [sys.executable, "-m", "studies", "run", str(study), *chosen]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DYNVIT_CHECKPOINT_MINUTES": "0"}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL) as driver:
        try:
            _wait(lambda: any(_has_begun_from_another(store.trial(f.name)) for f in store.trials.glob("*")))
        finally:
            driver.send_signal(signal.SIGKILL)
    done = {f.name: (f / "result.json").read_bytes() for f in store.trials.iterdir() if (f / "result.json").exists()}
    assert len(done) == 1
    assert "1 trial not begun: starts from tuned baseline s0" in studies("status", "chain")[1]
    code, out = studies("run", "chain.yaml", *chosen)
    assert (code, "2/2 trials" in out) == (0, True), out
    assert {name: (store.trials / name / "result.json").read_bytes() for name in done} == done
    assert [store.trial(name).state().attempt for name in done] == [1]


def _has_begun_from_another(folder: TrialFolder) -> bool:
    return folder.state().status == "running" and bool(first_trials((folder.spec() or {"config": {}})["config"]))


def _wait(holds: Callable[[], bool], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_bundle_holds_first_trials_and_verify_reruns_them(tmp_path: Path, studies: Studies) -> None:
    chain.write(tmp_path)
    chain.write(tmp_path, chain.OTHER, "other")
    assert studies("run", "other.yaml", "--on", "inline", "--seeds", "0")[0] == 0
    assert studies("export", "other", "-o", "other.zip")[0] == 0
    with zipfile.ZipFile("other.zip") as archive:
        files = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    results = {name.split("/")[1]: json.loads(data) for name, data in files.items() if name.endswith("result.json")}
    assert len(results) == 5
    assert {name for name in files if name.startswith("study/")} == {"study/chain.yaml", "study/other.yaml"}
    code, out = studies("verify", "other.zip", "--sample", "2")
    assert (code, "2 of 2 trials agree" in out) == (0, True), out
    first = next(name for name, result in results.items() if "started_from" not in result)
    results[first]["kept_weights"]["sha256"] = "0"
    files[f"trials/{first}/result.json"] = json.dumps(results[first]).encode()
    files[CHECKSUMS] = checksums({name: data for name, data in sorted(files.items()) if name != CHECKSUMS})
    with zipfile.ZipFile("changed.zip", "w") as archive:
        for name, data in files.items():
            archive.writestr(f"other/{name}", data)
    code, out = studies("verify", "changed.zip", "--sample", "0")
    assert (code, f"started from other weights than {first} has left" in out) == (1, True), out
