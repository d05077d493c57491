"""Predictions of the trials in one file of the study: each target once, finished trials only, not written twice."""

import io
import os
import zipfile
from pathlib import Path

import made_study as made
import numpy as np
import pytest

from paper_tables.data.predictions import Predictions
from studies.engine.results.bundle.export import export
from studies.engine.results.bundle.open import CorruptBundle, unpack
from studies.engine.results.collect import collect
from studies.engine.storage.plan_file import read_plan
from studies.engine.storage.results_dir import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def leave(store: Store, name: str, prediction: list[int], target: list[int]) -> None:
    out = io.BytesIO()
    np.savez_compressed(out, prediction=np.array(prediction, np.uint8), target=np.array(target, np.uint8))
    store.trial(name).predictions_file.write_bytes(out.getvalue())


def test_gathered_by_trial(store: Store) -> None:
    plan = made.make_plan()
    folder = made.run_all(store, plan)
    names = [t["folder"] for t in plan["trials"]]
    for i, name in enumerate(names):
        leave(store, name, [i, 1, 2], [0, 1, 2] if i else [0, 1, 1])
    collect(store, folder)
    with np.load(folder / "predictions.npz") as found:
        parts = {key.split("/")[1]: key for key in found.files if key.startswith("prediction/")}
        assert parts.keys() == set(names)
        assert sum(key.startswith("target/") for key in found.files) == 2
        for i, name in enumerate(names):
            assert found[parts[name]].tolist() == [i, 1, 2]
            assert found[f"target/{parts[name].split('/')[2]}"].tolist() == ([0, 1, 2] if i else [0, 1, 1])
    export(store, read_plan(folder), folder / "out.zip")
    with zipfile.ZipFile(folder / "out.zip") as archive:
        assert "toy/predictions.npz" in archive.namelist()


def test_written_again_only_when_something_changed(store: Store) -> None:
    plan = made.make_plan()
    folder = made.run_all(store, plan)
    names = [t["folder"] for t in plan["trials"]]
    for name in names:
        leave(store, name, [1], [1])
    collect(store, folder)
    file = folder / "predictions.npz"
    before, data = file.stat().st_mtime_ns, file.read_bytes()
    collect(store, folder)
    assert file.stat().st_mtime_ns == before
    file.unlink()
    collect(store, folder)
    assert file.read_bytes() == data
    leave(store, names[0], [2], [1])
    collect(store, folder)
    assert file.read_bytes() != data
    store.trial(names[1]).predictions_file.write_bytes(b"PK half of one")
    collect(store, folder)
    with np.load(file) as found:
        assert not any(names[1] in key for key in found.files)


def test_predictions_that_are_older_than_the_file_are_taken_up(store: Store) -> None:
    """As after `rsync -a`, which copies times, or where a clock was set back."""
    plan = made.make_plan()
    folder = made.run_all(store, plan)
    trial = store.trial(plan["trials"][0]["folder"])
    leave(store, trial.id, [0, 0], [0, 1])
    collect(store, folder)
    leave(store, trial.id, [0, 1], [0, 1])
    os.utime(trial.predictions_file, (1e9, 1e9))
    collect(store, folder)
    with np.load(folder / "predictions.npz") as found:
        assert [found[key].tolist() for key in found.files if trial.id in key] == [[0, 1]]


def test_without_predictions_no_file(store: Store) -> None:
    folder = made.run_all(store, made.make_plan())
    (folder / "predictions.npz").write_bytes(b"old")
    collect(store, folder)
    assert not (folder / "predictions.npz").exists()


def test_what_began_anew_goes_aside(store: Store) -> None:
    plan = made.make_plan()
    made.run_all(store, plan)
    trial = store.trial(plan["trials"][0]["folder"])
    leave(store, trial.id, [1], [1])
    assert trial.archive_attempt()
    assert not trial.predictions_file.exists()
    assert list(trial.path.glob("attempts/*/predictions.npz"))


def broken_zips() -> dict[str, bytes]:
    """Archives that are damaged in ways for which zipfile has errors of other kinds."""
    found = {}
    for name, method in (("lzma", zipfile.ZIP_LZMA), ("bzip2", zipfile.ZIP_BZIP2), ("deflate", zipfile.ZIP_DEFLATED)):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", method) as archive:
            archive.writestr("prediction.npy", bytes(range(256)) * 20)
        body = bytearray(out.getvalue())
        body[45:66] = b"\xff" * 21
        found[name] = bytes(body)
    body = bytearray(out.getvalue())
    body[body.index(b"PK\x01\x02") + 6] = 200
    return {**found, "version": bytes(body)}


@pytest.mark.parametrize("how", broken_zips())
def test_any_damage_of_an_archive_costs_that_file_only(store: Store, how: str, tmp_path: Path) -> None:
    plan = made.make_plan()
    folder = made.run_all(store, plan)
    names = [t["folder"] for t in plan["trials"]]
    for name in names:
        leave(store, name, [0, 1, 2], [0, 1, 1])
    store.trial(names[0]).predictions_file.write_bytes(broken_zips()[how])
    collect(store, folder)
    with np.load(folder / "predictions.npz") as found:
        assert {key.split("/")[1] for key in found.files if key.startswith("prediction/")} == set(names[1:])
    file = folder / "predictions.npz"
    file.write_bytes(broken_zips()[how])
    assert Predictions(file).correct(names[1]) is None
    collect(store, folder)
    with np.load(file) as found:
        assert len([key for key in found.files if key.startswith("prediction/")]) == len(names) - 1
    bundle = tmp_path / "bundle.zip"
    bundle.write_bytes(broken_zips()[how])
    with pytest.raises(CorruptBundle, match=r"bundle\.zip: "):
        unpack(bundle, tmp_path / "in")
