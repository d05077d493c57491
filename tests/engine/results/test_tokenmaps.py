"""Token maps go from the trial folders to the study folder, one per arm, and into the export."""

import io
import zipfile
from pathlib import Path

import made_study as made
import pytest

from studies.engine.core.files import read_zip, zip_bytes
from studies.engine.results.bundle.export import export
from studies.engine.results.collect import collect
from studies.engine.storage.plan_file import read_plan
from studies.engine.storage.results_dir import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def folders(plan: dict, arm: str) -> list[str]:
    return [t["folder"] for t in plan["trials"] if (t["part"], t["arm"]) == ("sret", arm)]


def test_one_file_per_arm_of_its_first_finished_seed(store: Store) -> None:
    plan = made.make_plan()
    folder = made.run_all(store, plan)
    one, other = folders(plan, "recursion=1"), folders(plan, "recursion=3")
    for name in (*one, *other[1:]):  # the first seed of recursion=3 has left none
        (store.trial(name).path / "maps.npz").write_bytes(zip_bytes({name: b"x"}))
    (folder / "maps").mkdir()
    (folder / "maps" / "gone.npz").write_bytes(b"of an arm that is no more")
    collect(store, folder)
    assert {p.name: list(read_zip(p)) for p in (folder / "maps").iterdir()} == {
        f"{one[0]}.npz": [one[0]],
        f"{other[1]}.npz": [other[1]],
    }
    before = (folder / "maps" / f"{one[0]}.npz").stat().st_mtime_ns
    made.fail(store.trial(other[1]), made.START)
    (store.trial(other[1]).result_file).unlink()
    collect(store, folder)
    assert sorted(p.stem for p in (folder / "maps").iterdir()) == sorted([one[0], other[2]])
    assert (folder / "maps" / f"{one[0]}.npz").stat().st_mtime_ns == before  # not written again
    export(store, read_plan(folder), folder / "out.zip")
    with zipfile.ZipFile(io.BytesIO((folder / "out.zip").read_bytes())) as archive:
        assert f"toy/maps/{one[0]}.npz" in archive.namelist()
        assert "`maps/` the tokens of" in archive.read("toy/README.md").decode()


def test_without_maps_there_is_no_folder(store: Store) -> None:
    folder = made.run_all(store, made.make_plan())
    collect(store, folder)
    assert not (folder / "maps").exists()
