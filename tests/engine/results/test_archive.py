"""What an export says of itself to machines: results.json, the RO-Crate, model cards."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import made_study as made
import pytest
import yaml
from rocrate.rocrate import ROCrate

from paper_tables.tables import labels
from studies.engine.catalog.description import current
from studies.engine.core.files import load_json
from studies.engine.results.bundle import model_card
from studies.engine.results.bundle.export import export
from studies.engine.results.bundle.open import CorruptBundle, unpack
from studies.engine.results.collect import collect
from studies.engine.storage.plan_file import read_plan
from studies.engine.storage.results_dir import Store

CLAIM = {
    "name": "deeper", "paper": "A paper (arXiv 1)", "where": "abstract", "text": "Deeper is better.", "kind": "sampled",
    "verdict": "partly reproduced", "scale": "laptop", "why": "", "tests": [], "other_paper": False,
}  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def exported(store: Store, place: Path) -> Path:
    """A finished study with a claim, one of whose trials kept its weights, exported and unpacked."""
    folder = made.run_all(store, made.make_plan())
    plan = read_plan(folder)
    kept = store.trial(plan.trials[0].folder)
    spec = json.loads(kept.spec_file.read_text())
    spec["config"] = {"model": {"name": "tpc_deit_tiny_patch16_224"}, "data": {"name": "folder", "root": "a/leaves"}}
    kept.spec_file.write_text(json.dumps(spec))
    (kept.path / "best.safetensors").write_bytes(b"weights")
    collect(store, folder)
    (folder / "tables").mkdir(exist_ok=True)
    (folder / "tables" / ".rendered.json").write_text(json.dumps({"about": {"claims": [CLAIM]}}))
    export(store, plan, place / "toy.zip")
    with zipfile.ZipFile(place / "toy.zip") as archive:
        archive.extractall(place / "out")
    return place / "out" / "toy"


def test_results_are_the_means_over_seeds_with_their_trials(store: Store, tmp_path: Path) -> None:
    top = exported(store, tmp_path)
    found = json.loads((top / "results.json").read_text())
    assert (found["study"], found["scale"], len(found["results"])) == ("toy", "laptop", 6 * 3)
    (line,) = (r for r in found["results"] if (r["part"], r["arm"], r["metric"]) == ("sret", "recursion=1", "top1"))
    values = list(line["seeds"].values())
    assert len(values) == line["n"] == line["planned"] == len(line["trials"]) == 3
    assert line["value"] == pytest.approx(sum(values) / 3) and line["sd"] > 0
    assert (line["unit"], line["direction"], line["task"], line["baseline"]) == ("%", "max", "toy", False)
    assert all((top / "trials" / name / "result.json").is_file() for name in line["trials"])
    assert found["claims"] == [{key: CLAIM[key] for key in CLAIM if key != "other_paper"}]


def test_a_seed_that_failed_is_missing_from_the_mean(store: Store, tmp_path: Path) -> None:
    folder = made.run_all(store, made.make_plan())
    failed = read_plan(folder).trials[0]
    store.trial(failed.folder).result_file.unlink()
    made.fail(store.trial(failed.folder), made.START)
    collect(store, folder)
    export(store, read_plan(folder), tmp_path / "toy.zip")
    with zipfile.ZipFile(tmp_path / "toy.zip") as archive:
        (line, *_) = json.loads(archive.read("toy/results.json"))["results"]
    assert (line["n"], line["planned"]) == (2, 3) and failed.folder not in line["trials"]


def test_it_is_an_ro_crate_that_names_files_results_and_verdicts(store: Store, tmp_path: Path) -> None:
    top = exported(store, tmp_path)
    crate = ROCrate(str(top))
    root = crate.root_dataset
    assert root["name"] == "A toy" and root["license"]
    assert {part.type for part in root["hasPart"]} == {"File", "Dataset"}
    for part in root["hasPart"]:
        assert (top / part.id).exists(), part.id
    listed = {part.id for part in root["hasPart"]}
    assert {"results.json", "trials.csv", "plan.json", "study/toy.yaml"} <= listed
    value: Any = root["variableMeasured"][0]
    assert value["name"] == "sret baseline: top1" and value["unitText"] == "%" and isinstance(value["value"], float)
    (review,) = (one for one in root["mentions"] if one.type == "ClaimReview")
    assert review["claimReviewed"] == "Deeper is better."
    assert review["reviewRating"]["alternateName"] == "partly reproduced"
    ids = [entity["@id"] for entity in json.loads((top / "ro-crate-metadata.json").read_text())["@graph"]]
    assert len(ids) == len(set(ids))


def test_only_a_trial_that_kept_its_weights_has_a_model_card(store: Store, tmp_path: Path) -> None:
    top = exported(store, tmp_path)
    (card,) = top.glob("trials/*/model_card.md")
    _, head, body = card.read_text().split("---\n", 2)
    (result,) = yaml.safe_load(head)["model-index"][0]["results"]
    assert result["dataset"]["name"] == "leaves"
    assert {"type": "accuracy", "name": "top1", "value": made_top1(store, card.parent.name)} in result["metrics"]
    assert hashlib.sha256(b"weights").hexdigest() in body
    assert "# tpc_deit_tiny_patch16_224" in body and "Reconstructed" in body


def test_cards_and_tables_agree_on_what_is_reconstructed() -> None:
    """Cards of Edge-RecViT did not say it."""
    names = [*current().description["models"]]
    assert len(names) > 30
    cards = {name for name in names if name.startswith(model_card.RECONSTRUCTED)}
    assert cards == {name for name in names if name.startswith(labels.RECONSTRUCTED)}


def made_top1(store: Store, trial: str) -> float:
    return float((store.trial(trial).result() or {})["metrics"]["best"]["top1"])


@pytest.mark.parametrize("name", ["results.json", "ro-crate-metadata.json"])
def test_a_changed_description_is_no_export_any_more(store: Store, tmp_path: Path, name: str) -> None:
    top = exported(store, tmp_path)
    assert unpack(tmp_path / "toy.zip", tmp_path / "again").trials
    (top / name).write_text((load_json(top / name) and "{}") or "")
    with zipfile.ZipFile(tmp_path / "changed.zip", "w") as archive:
        for file in top.rglob("*"):
            if file.is_file():
                archive.write(file, file.relative_to(top.parent))
    with pytest.raises(CorruptBundle, match=f"{name} has changed"):
        unpack(tmp_path / "changed.zip", tmp_path / "third")
