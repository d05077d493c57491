"""`studies verify` on bundles whose frame or means are not those of their plan and trials, with matching checksums."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import made_study as made
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from studies.engine.cli import main
from studies.engine.planning.identity import trial_id
from studies.engine.results.bundle.export import export
from studies.engine.results.collect import collect
from studies.engine.storage.plan_file import read_plan
from studies.engine.storage.results_dir import Store

Files = dict[str, bytes]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a study of six arms with two seeds, one trial failed; trials have the ids of their configs."""
    place = tmp_path_factory.mktemp("whole")
    store, plan = Store(place / "results"), made.make_plan(seeds=2)
    for index, planned in enumerate(plan["trials"]):
        config = {"model": {"name": planned["arm"]}, "part": planned["part"]}
        planned["folder"] = planned["trial"] = trial_id("toy", 1, config, planned["seed"])
        folder = store.trial(planned["folder"])
        spec = {"id": folder.id, "task": "toy", "revision": 1, "config": config, "seed": planned["seed"]}
        folder.create(spec)
        made.start(folder)
        made.log(folder, 1, made.START + 1, val__loss=float(index))
        made.finish(folder, made.START + 50, top1=80 + index) if index != 3 else made.fail(folder, made.START + 9)
    study = made.write_plan(store, plan)
    collect(store, study)
    export(store, read_plan(study), place / "toy.zip")
    return place / "toy.zip"


@pytest.fixture
def verified(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> Any:
    """Verify the bundle after a change, as typed with --sample 0 --json; exit code, contradictions and all output."""

    def typed(change: Callable[[Files], None]) -> tuple[int, list[str], str]:
        with zipfile.ZipFile(whole) as archive:
            files = {name.removeprefix("toy/"): archive.read(name) for name in archive.namelist()}
        del files["SHA256SUMS"]
        change(files)
        sums = "".join(f"{hashlib.sha256(body).hexdigest()}  {name}\n" for name, body in files.items())
        with zipfile.ZipFile(tmp_path / "bent.zip", "w") as archive:
            for name, body in {**files, "SHA256SUMS": sums.encode()}.items():
                archive.writestr(f"toy/{name}", body)
        monkeypatch.setattr(sys, "argv", ["studies", "verify", str(tmp_path / "bent.zip"), "--sample", "0", "--json"])
        with pytest.raises(SystemExit) as ended:
            main.main()
        read = capsys.readouterr()
        return int(ended.value.code or 0), json.loads(read.out).get("contradictions"), read.out + read.err

    return typed


def rows(change: Callable[[list[dict[str, str]]], None]) -> Callable[[Files], None]:
    """Change the rows of trials.csv."""

    def changed(files: Files) -> None:
        found = list(csv.DictReader(io.StringIO(files["trials.csv"].decode())))
        change(found)
        out = io.StringIO()
        writer = csv.DictWriter(out, found[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)
        files["trials.csv"] = out.getvalue().encode()

    return changed


def swap(found: list[dict[str, str]]) -> None:
    for column in ("arm", "baseline", "axis.recursion"):
        found[0][column], found[4][column] = found[4][column], found[0][column]


def in_parquet(files: Files) -> None:
    table = pq.read_table(io.BytesIO(files["trials.parquet"]))
    column = table.column_names.index("metric.top1")
    out = io.BytesIO()
    pq.write_table(table.set_column(column, "metric.top1", pa.array([99.0] * table.num_rows)), out)
    files["trials.parquet"] = out.getvalue()


def in_means(key: str, value: object) -> Callable[[Files], None]:
    def changed(files: Files) -> None:
        found = json.loads(files["results.json"])
        found["results"][0][key] = value
        files["results.json"] = json.dumps(found).encode()

    return changed


def in_first(kind: str, **changes: object) -> Callable[[Files], None]:
    """Change keys of a file of the first trial of the plan; None leaves one out."""

    def changed(files: Files) -> None:
        name = f"trials/{json.loads(files['plan.json'])['trials'][0]['folder']}/{kind}"
        found = {**json.loads(files[name]), **changes}
        files[name] = json.dumps({key: value for key, value in found.items() if value is not None}).encode()

    return changed


BENT = {
    "a bad seed left out": (rows(lambda found: found.__delitem__(1)), "sret baseline s1: not in trials.csv"),
    "a good seed twice": (rows(lambda found: found.append(found[0])), "sret baseline s0: more than once in trials.csv"),
    "one more": (
        rows(lambda found: found.append({**found[0], "seed": "9"})),
        "baseline s9: in trials.csv, and not",
    ),
    "arms swapped": (rows(swap), "sret baseline s0: trial is "),
    "costs": (rows(lambda found: found[0].update({"model.gflops": "0.1"})), "model.gflops is 0.1 in trials.csv, 0.25"),
    "a failed trial": (rows(lambda found: found[3].update({"cost.seconds": "1"})), "cost.seconds is 1 in trials.csv"),
    "what tables are made from": (in_parquet, "top1 is 99.0 in trials.parquet, 80.0 in its result"),
    "no parquet": (lambda files: files.update({"trials.parquet": b"PAR1"}), "trials.parquet cannot be read"),
    "a huge cell": (rows(lambda found: found[0].update(arm="x" * 200_000)), "trials.csv cannot be read: field larger"),
    "a mean": (in_means("value", 99.0), "sret baseline top1: value is 99.0 in results.json, 80.5 from its trials"),
    "a mean's trials": (in_means("n", 5), "sret baseline top1: n is 5 in results.json, 2 from its trials"),
    "a config that is no JSON": (in_first("spec.json", config={"lr": float("nan")}), "as they give another id"),
    "odd means": (lambda files: files.update({"results.json": b'{"results": [5]}'}), "results.json has no list"),
}


@pytest.mark.parametrize("kind", BENT)
def test_what_is_not_that_of_its_trials_is_named(kind: str, verified: Any) -> None:
    change, message = BENT[kind]
    code, found, out = verified(change)
    assert code == 1
    assert message in "\n".join(found), out


@pytest.mark.parametrize("first", ["../../other", "aaaaaaaaaaaa", ""])
def test_odd_starts_are_named(verified: Any, whole: Path, first: str) -> None:
    with zipfile.ZipFile(whole) as archive:
        planned = json.loads(archive.read("toy/plan.json"))["trials"]
    code, _, out = verified(in_first("result.json", started_from={first or planned[1]["folder"]: {}}))
    assert code == 1
    assert "but its config names nothing" in out


def test_an_export_as_it_is_has_no_contradiction(verified: Any) -> None:
    assert verified(lambda files: None)[:2] == (0, [])
    assert verified(in_first("spec.json", revision=None))[:2] == (0, []), "as of the first revision"
