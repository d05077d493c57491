"""Every kind of file of a trial and of a study, damaged in every way, under every command that reads it.

No traceback, no endless wait; the trial whose file it is, is named or trained again, and all others are as before.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import paper_tables
from studies.engine.cli.main import cli
from studies.engine.core.files import remove
from studies.engine.storage.code_snapshot import root, take
from studies.engine.storage.results_dir import Store
from studies.engine.storage.samples import Sample, format_sample

STUDY = """
study: small
title: A small one
task: {task}
seeds: [0, 1]
base: {{train: {{steps: 2}}}}
axes: {{lr: {{key: train.lr, values: [0.1, 0.2], baseline: 0.1}}}}
design: [{{one_at_a_time: [lr]}}]
metrics: {{score: {{from: best, direction: max}}, final: {{from: val.score, direction: max}}}}
resources: {{retries: 1}}
"""
TRIAL_FILES = (
    "spec.json",
    "state.json",
    "result.json",
    "events.jsonl",
    "claim",
    "stop",
    "predictions.npz",
    "maps.npz",
    "ckpt/last.json",
    "ckpt/last.pt",
    "attempts/0/env.json",
    "attempts/0/log.txt",
    "attempts/0/system.jsonl",
)
OF_THE_DONE = ("result.json", "predictions.npz", "maps.npz", "attempts/0/env.json", "attempts/0/system.jsonl")
STUDY_FILES = ("plan.json", "driver", "stop", ".mirror.json", "maps", "predictions.npz", "curves.parquet")
DEEP = b'{"a": ' * 20_000 + b"1" + b"}" * 20_000
HALF_DEEP = b'{"a": ' * 400 + b"1" + b"}" * 400


def wrong_types(file: Path) -> Iterator[bytes]:
    """The file's own object with values that cannot be, all at once and one after another."""
    values = ("x", -1, 10**400, 1e300, None, [], {}, [1], "\ud800", True)
    text = file.read_bytes()
    own: dict[str, Any] = json.loads(text.splitlines()[0] if file.suffix == ".jsonl" else text)
    for value in ("x", [1], None):
        yield json.dumps(dict.fromkeys(own, value)).encode() + b"\n"
    for number, key in enumerate(own):
        yield json.dumps({**own, key: values[number % len(values)]}).encode() + b"\n"


def loop(file: Path) -> None:
    file.symlink_to(file.name)


def contents(file: Path) -> list[Callable[[Path], object]]:
    """What is put in the place of a file."""
    texts = [
        b"",
        b"\0" * 4096,
        os.urandom(2000),
        b"[]",
        b"null",
        b"3",
        b'"x"',
        b"{}",
        b'{"x": 1}',
        b"{",
        DEEP,
        HALF_DEEP,
    ]
    if file.exists():
        body = file.read_bytes()
        texts += [body[: len(body) // 2], body[:-2]]
        if file.suffix in (".json", ".jsonl") or file.name in ("claim", "driver"):
            texts += wrong_types(file)
    writers: list[Callable[[Path], object]] = [lambda f, text=text: f.write_bytes(text) for text in texts]  # type: ignore[misc]
    return [
        *writers,
        lambda f: (f / "inside").mkdir(parents=True),
        os.mkfifo,
        loop,
        lambda f: f.symlink_to("/dev/zero"),
    ]


class Site:
    """A finished study of four trials, copied for each case; the first trial is the victim."""

    def __init__(self, place: Path) -> None:
        self.study = place / "small.yaml"
        self.study.write_text(STUDY.format(task=root() / "tests" / "toy_task.py"))
        self.whole, self.here = place / "whole", place / "here"
        done = self.call("run", str(self.study), "--on", "inline", results=self.whole)
        assert done.return_value == 0, done.output
        self.names = sorted(path.name for path in (self.whole / "trials").iterdir())
        self.victim = self.whole / "trials" / self.names[0]
        take(self.whole)
        (self.victim / "ckpt").mkdir()
        (self.victim / "claim").write_text(json.dumps(CLAIM))
        sample = Sample(1.0, {"system_memory_usage_megabytes": 1.0})
        (self.victim / "attempts" / "0" / "system.jsonl").write_bytes(format_sample(sample))
        (self.victim / "ckpt" / "last.json").write_text(json.dumps({"last": {"size": 1, "sha256": "x", "step": 1}}))

    def call(self, *words: str, results: Path | None = None) -> Result:
        where = str(results or self.here)
        done = CliRunner().invoke(cli, [*words, "--results", where], standalone_mode=False)
        usage = done.exception is None or type(done.exception).__module__.startswith(("click", "studies.engine.cli"))
        if not usage and done.exc_info is not None:
            raise AssertionError(f"studies {' '.join(words)}") from done.exc_info[1]
        return done

    def damage(self, name: str, put: Callable[[Path], object], result: bool) -> Path:
        """Copy the whole study and put something in a file's place; result: the trial has its result still."""
        remove(self.here)
        shutil.copytree(self.whole, self.here, ignore=lambda *_: ["code", "tables", "figures"])
        (self.here / "code").symlink_to(self.whole / "code")  # two thousand files, which nothing here damages
        if not result:
            (self.here / "trials" / self.names[0] / "result.json").unlink()
        file = self.here / name
        remove(file)
        file.parent.mkdir(exist_ok=True)
        put(file)
        return file

    def rows(self) -> dict[str, str]:
        lines = (self.here / "small" / "trials.csv").read_text().splitlines()[1:]
        return {name: line for line in lines for name in self.names if f",{name}," in line}


CLAIM = {"host": "there", "machine": "there", "pid": 1, "born": "1", "token": "x", "time": 1.0}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "")
        patch.setattr("studies.engine.tracking.mirror.Mirror.update", lambda self: True)
        patch.setattr("studies.engine.tracking.mirror.Mirror.close", lambda self: True)
        patch.setattr("studies.engine.storage.lease.HEARTBEAT_SECONDS", 0.0)
        # the installed packages stay as they are: their folders are read once, not for each of some thousand commands
        patch.setattr(metadata, "entry_points", functools.cache(metadata.entry_points))
        patch.setattr(metadata, "version", functools.cache(metadata.version))
        patch.setattr("paper_tables.site.render_cache.version", metadata.version)
        patch.setattr("paper_tables.build", lambda *_: Built())
        patch.setattr("paper_tables.site.index.write_index", lambda _: None)
        yield Site(tmp_path_factory.mktemp("damage"))


NOTHING: dict[str, Any] = {"printed": [], "claims": [], "verdicts": {}}


class Built:
    """Tables are drawn from the frame, which is what is tested here."""

    tables: tuple[Path, ...] = ()
    figures: tuple[Path, ...] = ()
    report = Path(__file__)
    unchanged = False


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "result"), [(n, True) for n in TRIAL_FILES] + [(n, False) for n in TRIAL_FILES if n not in OF_THE_DONE]
)
def test_a_damaged_file_of_a_trial(site: Site, name: str, result: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    (site.whole / "trials" / site.names[0] / "claim").touch()
    place = f"trials/{site.names[0]}/{name}"
    summary = paper_tables.summary
    for number, put in enumerate(contents(site.whole / place)):
        # the table that is printed is made from the frame: now and then is enough
        monkeypatch.setattr(paper_tables, "summary", (lambda *_: NOTHING) if number % 10 else summary)
        site.damage(place, put, result)
        site.call("status", "small")
        findings = json.loads(site.call("doctor", "--json").output)
        assert isinstance(findings, list)
        site.call("tables", "small")
        rows = site.rows()
        assert len(rows) == len(site.names), (name, number)
        assert [",done," in rows[other] for other in site.names[1:]] == [True] * 3, (name, number)
        done = site.call("run", str(site.study), "--on", "inline")
        assert done.return_value == 0, (name, number, done.output)
        assert Store(site.here).trial(site.names[0]).state().status == "done", (name, number)
        if number % 10 == 0:
            site.call("export", "small")


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDY_FILES)
def test_a_damaged_file_of_a_study(site: Site, name: str) -> None:
    for number, put in enumerate(contents(site.whole / "small" / name)):
        site.damage(f"small/{name}", put, result=True)
        for words in (
            ("status", "small"),
            ("doctor", "--json"),
            ("tables", "small"),
            ("logs", "small"),
            ("stop", "small"),
        ):
            site.call(*words)
        done = site.call("run", str(site.study), "--on", "inline")
        assert done.return_value == 0, (name, number, done.output)
        assert len(site.rows()) == len(site.names)
        if number % 10 == 0:
            site.call("export", "small")
