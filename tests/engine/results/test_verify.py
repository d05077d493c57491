"""`studies verify`: checksums, a sample rerun with the bundle's code, and which numbers agree."""

from __future__ import annotations

import hashlib
import json
import math
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from studies.engine.cli import main
from studies.engine.results.bundle.open import CorruptBundle, unpack
from studies.engine.results.bundle.rerun import compare, sample
from studies.engine.storage.code_snapshot import root

STUDY = """
study: small
title: A small one
task: {task}
seeds: [0, 1, 2]
base: {{train: {{steps: 4}}}}
axes: {{depth: {{key: depth, values: [1, 2], baseline: 1}}}}
design: [{{one_at_a_time: [depth]}}]
metrics: {{score: {{from: best, direction: max}}}}
"""
Typed = tuple[int, str]


@pytest.fixture
def studies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Typed]:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.setattr("studies.engine.tracking.mirror.Mirror.update", lambda self: True)
    monkeypatch.setattr("studies.engine.tracking.mirror.Mirror.close", lambda self: True)

    def type_(*words: str) -> Typed:
        monkeypatch.setattr(sys, "argv", ["studies", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main.main()
        read = capsys.readouterr()
        return int(ended.value.code or 0), read.out + read.err

    return type_


@pytest.fixture
def bundle(tmp_path: Path, studies: Callable[..., Typed]) -> Path:
    task = root() / "tests" / "toy_task.py"
    (tmp_path / "small.yaml").write_text(STUDY.format(task=task))
    results = str(tmp_path / "results")
    code, out = studies("run", str(tmp_path / "small.yaml"), "--on", "inline", "--results", results)
    assert code == 0, out
    code, out = studies("export", "small", "--results", results, "-o", str(tmp_path / "small.zip"))
    assert code == 0, out
    return tmp_path / "small.zip"


def rewritten(bundle: Path, change: Callable[[dict[str, bytes]], None], sums: bool = True) -> Path:
    """The bundle with other contents, its checksums renewed if asked."""
    with zipfile.ZipFile(bundle) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    change(files)
    if sums:
        lines = [
            f"{hashlib.sha256(body).hexdigest()}  {name.partition('/')[2]}\n"
            for name, body in files.items()
            if not name.endswith("SHA256SUMS")
        ]
        files["small/SHA256SUMS"] = "".join(lines).encode()
    other = bundle.with_name("other.zip")
    with zipfile.ZipFile(other, "w") as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return other


def test_the_numbers_come_out_again(bundle: Path, tmp_path: Path, studies: Callable[..., Typed]) -> None:
    code, out = studies("verify", str(bundle), "--results", str(tmp_path / "again"))
    assert code == 0, out
    assert "small, 6 trials with results, checksums match" in out
    assert "of the bundle" in out
    assert "verified  3 of 3 trials agree (6 in the bundle)" in out
    assert len(list((tmp_path / "again" / "trials").iterdir())) == 3
    assert "differs" not in out


def test_another_number_is_found(bundle: Path, studies: Callable[..., Typed]) -> None:
    trials: list[str] = []

    def change(files: dict[str, bytes]) -> None:
        name = sorted(name for name in files if name.endswith("/result.json"))[0]
        result = json.loads(files[name])
        result["metrics"]["best"]["score"] *= 1.001
        result["metrics"]["gone"] = 1.0
        files[name] = json.dumps(result).encode()
        trials.append(name.split("/")[2])

    other = rewritten(bundle, change)
    code, out = studies("verify", str(other), "--trial", trials[0][:6])
    assert code == 1
    assert "  differs  best.score" in out
    assert "(0.001)" in out
    assert "  missing  gone" in out
    assert "verified  0 of 1 trials agree" in out
    code, out = studies("verify", str(other), "--trial", trials[0], "--tolerance", "0.01")
    assert "1 within the tolerance" in out
    assert "differs" not in out


def test_a_bundle_that_was_changed_is_refused(bundle: Path, studies: Callable[..., Typed]) -> None:
    def spoil(files: dict[str, bytes]) -> None:
        files["small/trials.csv"] += b"x"
        del files["small/report.html"]
        files["small/more.txt"] = b"?"

    code, out = studies("verify", str(rewritten(bundle, spoil, sums=False)))
    assert code == 2
    for message in ("trials.csv has changed", "report.html is missing", "more.txt is not part of the export"):
        assert message in out
    bundle.write_bytes(bundle.read_bytes()[:500])
    assert studies("verify", str(bundle))[0] == 2
    assert studies("verify", str(bundle.with_name("none.zip")))[0] == 2


@pytest.mark.parametrize("name", ["../evil.txt", "/tmp/evil.txt", "small/../../evil.txt"])
def test_nothing_lands_outside(name: str, bundle: Path, tmp_path: Path) -> None:
    other = rewritten(bundle, lambda files: files.update({name: b"x"}), sums=False)
    with pytest.raises(CorruptBundle, match="outside"):
        unpack(other, tmp_path / "in" / "side")
    assert not list(tmp_path.rglob("evil.txt"))


def test_a_trial_that_fails_now_is_reported(bundle: Path, studies: Callable[..., Typed]) -> None:
    def fault(files: dict[str, bytes]) -> None:
        for name in [name for name in files if name.endswith("/spec.json")]:
            spec = json.loads(files[name])
            spec["config"]["fault"]["kind"] = "raise"
            files[name] = json.dumps(spec).encode()

    code, out = studies("verify", str(rewritten(bundle, fault)), "--sample", "1")
    assert code == 1
    assert ": failed: " in out


def test_own_code_and_checksums_only(bundle: Path, studies: Callable[..., Typed]) -> None:
    code, out = studies("verify", str(bundle), "--sample", "0")
    assert (code, "verified" in out) == (0, False)
    code, out = studies("verify", str(bundle), "--sample", "1", "--own-code")
    assert code == 0
    assert "this installation's" in out
    assert studies("verify", str(bundle), "--trial", "zzz")[0] == 2


def test_the_sample_is_drawn_by_lot(bundle: Path, tmp_path: Path) -> None:
    opened = unpack(bundle, tmp_path / "open")
    assert sample(opened, 3, 0) == sample(opened, 3, 0)
    assert len({tuple(sample(opened, 3, pick)) for pick in range(20)}) > 5
    assert sample(opened, 99, 0) == opened.trials()


def test_what_is_compared() -> None:
    then = {
        "metrics": {"best": {"top1": 90.0}, "images_per_second": 10.0, "bad": math.nan, "name": "x", "flag": True},
        "cost": {"seconds": 4.0, "params": 5, "peak_memory_mb": 3.0},
    }
    now = {"metrics": {"best": {"top1": 90.9}, "images_per_second": 20.0, "bad": math.nan}, "cost": {"params": 5}}
    found = {n.name: n.verdict for n in compare(then, now, 0.0)}
    assert found == {"best.top1": "differs", "images_per_second": "timing", "bad": "equal", "cost.params": "equal"}
    assert {n.name: n.verdict for n in compare(then, now, 0.02)}["best.top1"] == "close"
