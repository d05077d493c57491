"""`studies verify`: checksums, a sample rerun with the bundle's code, and which numbers agree."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import random
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

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
def studies(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Typed]:
    def type_(*words: str) -> Typed:
        monkeypatch.setattr(sys, "argv", ["studies", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main.main()
        read = capsys.readouterr()
        return int(ended.value.code or 0), read.out + read.err

    return type_


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with results of the study and their bundle, of which each test has a copy."""
    place = tmp_path_factory.mktemp("finished")
    (place / "small.yaml").write_text(STUDY.format(task=root() / "tests" / "toy_task.py"))
    run = ["run", str(place / "small.yaml"), "--on", "inline"]
    with pytest.MonkeyPatch.context() as patch:
        for write in ("update", "close"):
            patch.setattr(f"studies.engine.tracking.mirror.Mirror.{write}", lambda self: True)
        for words in (run, ["export", "small", "-o", str(place / "small.zip")]):
            done = CliRunner().invoke(main.cli, [*words, "--results", str(place / "results")], standalone_mode=False)
            assert done.return_value == 0, done.output
    return place


@pytest.fixture
def bundle(tmp_path: Path, finished: Path) -> Path:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
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


def test_a_frame_that_is_not_that_of_its_trials_is_found(bundle: Path, studies: Callable[..., Typed]) -> None:
    def change(files: dict[str, bytes]) -> None:
        head, first, *rest = files["small/trials.csv"].decode().splitlines(keepends=True)
        cells, column = first.split(","), head.rstrip().split(",").index("metric.score")
        cells[column] = "99.5"
        files["small/trials.csv"] = "".join([head, ",".join(cells), *rest]).encode()
        name = sorted(name for name in files if name.endswith("/spec.json"))[0]
        files[name] = json.dumps({**json.loads(files[name]), "seed": 77}).encode()

    code, out = studies("verify", str(rewritten(bundle, change)), "--sample", "0")
    assert code == 1
    assert "score is 99.5 in trials.csv, " in out
    assert "its config, seed or task was changed, as they give another id" in out
    code, out = studies("verify", str(bundle), "--sample", "0")
    assert (code, out.count("trials.csv")) == (0, 0)


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
    assert code == 1
    assert "this installation's" in out
    assert "not run: its task is a file" in out, "own code means own task"
    assert studies("verify", str(bundle), "--trial", "zzz")[0] == 2


def test_what_was_run_before_is_not_compared(bundle: Path, tmp_path: Path, studies: Callable[..., Typed]) -> None:
    again = ("verify", str(bundle), "--sample", "1", "--results", str(tmp_path / "again"))
    assert studies(*again)[0] == 0
    code, out = studies(*again)
    assert code == 1
    assert "is there already" in out
    code, out = studies("verify", str(bundle), "--sample", "1", "--results", str(tmp_path / "results"))
    assert code == 1


def replaced(kind: str, key: str, value: object) -> Callable[[dict[str, bytes]], None]:
    """Set a key in every file of that name."""

    def change(files: dict[str, bytes]) -> None:
        for name in [name for name in files if name.endswith(f"/{kind}")]:
            files[name] = json.dumps({**json.loads(files[name]), key: value}).encode()

    return change


def with_folder(folder: str) -> Callable[[dict[str, bytes]], None]:
    def change(files: dict[str, bytes]) -> None:
        plan = json.loads(files["small/plan.json"])
        plan["trials"][0]["folder"] = folder
        files["small/plan.json"] = json.dumps(plan).encode()

    return change


HOSTILE = {
    "the folder above": with_folder("../../../etc"),
    "an absolute folder": with_folder("/etc"),
    "a name that is no id": with_folder("trials"),
    "a number": with_folder(5),  # type: ignore[arg-type]
    "no plan": replaced("plan.json", "trials", None),
    "odd plan": replaced("plan.json", "parts", [5]),
    "a seed of 90 digits": lambda files: files.update(
        {"small/plan.json": files["small/plan.json"].replace(b'"seed": 0', b'"seed": ' + b"9" * 90)}
    ),
    "odd result": replaced("result.json", "metrics", None),
    "odd numbers": replaced("result.json", "cost", {"seconds": "x"}),
    "odd spec": replaced("spec.json", "config", []),
    "odd environment": replaced("env.json", "source", ["x"]),
    "deep": lambda files: files.update({"small/plan.json": b'{"a":' * 20_000 + b"1" + b"}" * 20_000}),
    "no text": lambda files: files.update({"small/plan.json": b"\xff\xfe"}),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_is_refused_in_one_line(kind: str, bundle: Path, studies: Callable[..., Typed]) -> None:
    code, out = studies("verify", str(rewritten(bundle, HOSTILE[kind])))
    assert code == 2, out
    assert len(out.strip().splitlines()) == 1, out


@pytest.mark.parametrize("source", ["../../../own", "/tmp", "..", "a/b", ""])
def test_code_comes_from_the_bundle_alone(source: str, bundle: Path, tmp_path: Path) -> None:
    opened = unpack(rewritten(bundle, replaced("env.json", "source", source)), tmp_path / "in")
    assert [opened.code(trial) for trial in opened.trials] == [None] * 6


@pytest.mark.parametrize("name", ["/dev/zero", "../../other", "/etc/passwd", "trials", "a\0b"])
def test_checksums_stay_inside(name: str, bundle: Path, studies: Callable[..., Typed]) -> None:
    def change(files: dict[str, bytes]) -> None:
        files["small/SHA256SUMS"] += f"{'0' * 64}  {name}\n".encode()

    code, out = studies("verify", str(rewritten(bundle, change, sums=False)))
    assert code == 2
    assert "is missing" in out


@pytest.mark.parametrize("task", ["../bundle/small/evil.py", "/tmp/evil.py", "os.path", "..x", "a b"])
def test_own_code_runs_no_task_of_a_bundle(task: str, bundle: Path, studies: Callable[..., Typed]) -> None:
    def change(files: dict[str, bytes]) -> None:
        replaced("spec.json", "task", task)(files)
        files["small/evil.py"] = b"raise SystemExit"

    code, out = studies("verify", str(rewritten(bundle, change)), "--sample", "1", "--own-code")
    assert code == 1
    assert "not run: its task is a file" in out


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("small/zeros", bytes(200 * 2**20))
    with pytest.raises(CorruptBundle, match="no export is that large"):
        unpack(bomb, tmp_path / "in")
    assert not (tmp_path / "in").exists()


def test_flipped_bytes_never_end_in_a_traceback(bundle: Path, tmp_path: Path) -> None:
    body, chance = bundle.read_bytes(), random.Random(0)
    for number in range(150):
        flipped = bytearray(body)
        for _ in range(chance.choice((1, 20))):
            flipped[chance.choice((chance.randrange(len(body)), -chance.randrange(1, 3000)))] ^= chance.randrange(
                1, 256
            )
        bundle.write_bytes(flipped)
        with contextlib.suppress(CorruptBundle):
            unpack(bundle, tmp_path / "in" / str(number))


def test_the_sample_is_drawn_by_lot(bundle: Path, tmp_path: Path) -> None:
    opened = unpack(bundle, tmp_path / "open")
    assert sample(opened, 3, 0) == sample(opened, 3, 0)
    assert len({tuple(sample(opened, 3, pick)) for pick in range(20)}) > 5
    assert sample(opened, 99, 0) == opened.trials


def test_what_is_compared() -> None:
    then = {
        "metrics": {"best": {"top1": 90.0}, "images_per_second": 10.0, "bad": math.nan, "name": "x", "flag": True},
        "cost": {"seconds": 4.0, "params": 5, "peak_memory_mb": 3.0},
    }
    now = {"metrics": {"best": {"top1": 90.9}, "images_per_second": 20.0, "bad": math.nan}, "cost": {"params": 5}}
    found = {n.name: n.verdict for n in compare(then, now, 0.0)}
    assert found == {"best.top1": "differs", "images_per_second": "timing", "bad": "equal", "cost.params": "equal"}
    assert {n.name: n.verdict for n in compare(then, now, 0.02)}["best.top1"] == "close"


def test_the_share_of_a_speed_up_is_a_timing_and_a_share_of_tokens_is_a_number() -> None:
    then = {"metrics": {"speedup": 1.2, "share": 0.9, "active_share": 0.7}}
    now = {"metrics": {"speedup": 1.1, "share": 0.8, "active_share": 0.6}}
    found = {n.name: n.verdict for n in compare(then, now, 0.0)}
    assert found == {"speedup": "timing", "share": "timing", "active_share": "differs"}


@pytest.mark.parametrize("name", ["secondary_top1", "sentiment_acc", "timesteps", "best.memoryless", "speedy"])
def test_a_number_with_a_timing_inside_a_word_is_compared(name: str) -> None:
    assert [n.verdict for n in compare({"metrics": {name: 10}}, {"metrics": {name: 90}}, 0.0)] == ["differs"]


@pytest.mark.parametrize("name", ["step_time", "train.seconds", "peak_memory_mb", "images_per_second", "Latency-ms"])
def test_a_timing_is_shown_only(name: str) -> None:
    assert [n.verdict for n in compare({"metrics": {name: 10}}, {"metrics": {name: 90}}, 0.0)] == ["timing"]
