"""Export a study as a zip with everything needed to check or repeat it; equal content gives equal bytes."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from studies.engine.core.files import read_json, write_atomic
from studies.engine.core.trial import first_trials
from studies.engine.results.bundle import checklist, crate, model_card, summary
from studies.engine.results.collect import output_files
from studies.engine.results.frame_io import csv_text
from studies.engine.results.readings import Reading, read, read_all, rows
from studies.engine.storage.code_snapshot import SOURCE, fingerprint, root, take
from studies.engine.storage.plan_file import PlanFile, PlannedTrial, to_json
from studies.engine.storage.results_dir import Store
from studies.engine.storage.trial_folder import TrialFolder

EPOCH = (1980, 1, 1, 0, 0, 0)
CHECKSUMS = "SHA256SUMS"
FRAME = "trials.csv"
CLAIMS = "claims.yaml"
"""Beside a table file: the claims, by study."""


class TrialsWentOn(Exception):
    """Trials have begun or ended since the study's frame was written: it is to be made again."""


def export(store: Store, plan: PlanFile, target: Path, tables: Path | None = None) -> int:
    """Write the zip and return the number of its files. tables: the table file that the tables were rendered from.

    Raises:
        TrialsWentOn: nothing is written then.
    """
    files = dict(sorted(gather(store, plan, tables).items()))
    files[CHECKSUMS] = checksums(files)
    write_atomic(target, zip_bytes(files, plan.full_name))
    return len(files)


def gather(store: Store, plan: PlanFile, tables: Path | None) -> dict[str, bytes]:
    """Return every file except the checksums, by its name in the zip."""
    texts = {**plan.other_studies, Path(plan.study_file).name: plan.study_text}
    files = {f"study/{name}": text.encode() for name, text in texts.items()}
    data = [file for kind in ("*.parquet", "*.npz", "maps/*.npz") for file in sorted(plan.folder.glob(kind))]
    for path in [*output_files(plan.folder), *data]:
        files[path.relative_to(plan.folder).as_posix()] = path.read_bytes()
    if plan.table_file or plan.study_path:  # paths of this machine
        there = json.dumps(to_json(replace(plan, table_file="", study_path="")), indent=1, ensure_ascii=False)
        files["plan.json"] = f"{there}\n".encode()
    if tables is not None:
        files[f"paper_tables/{tables.name}"] = tables.read_bytes()
        if (claims := tables.with_name(CLAIMS)).is_file():
            files[f"paper_tables/{CLAIMS}"] = claims.read_bytes()
    specs: dict[str, dict[str, Any]] = {}
    readings = read_all(store, plan)
    if files.get(FRAME, b"") not in (b"", csv_text(rows(plan, readings)).encode()):
        raise TrialsWentOn
    everything = readings | {name: read(store.trial(name), plan) for name in _further_firsts(store, readings)}
    for name, got in everything.items():
        folder = store.trial(name)
        if name in readings:
            specs[name] = folder.spec() or {}
        for path in _trial_files(folder, got):
            files[f"trials/{name}/{path.name}"] = path.read_bytes()
    files |= _model_cards(store, plan, readings, specs)
    for source, snapshot in _snapshots(store, {str(got.env.get("source")) for got in everything.values()}).items():
        files |= {f"code/{source}/{name}": body for name, body in _code(snapshot)}
    for copy in {own for name in everything if (own := (store.trial(name).spec() or {}).get("own"))}:
        files |= {f"{copy}/{name}": body for name, body in _code(store.root / copy)}
    files["environments.json"] = (json.dumps(checklist.environments(readings), indent=1) + "\n").encode()
    found = summary.summary(plan, readings, specs)
    files["results.json"] = _json(found)
    files["README.md"] = checklist.readme(plan, readings, specs, sorted({*files, crate.NAME})).encode()
    files[crate.NAME] = _json(crate.crate(plan, readings, found, dict(sorted(files.items()))))
    return files


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _model_cards(
    store: Store, plan: PlanFile, readings: Mapping[str, Reading], specs: Mapping[str, Mapping[str, Any]]
) -> dict[str, bytes]:
    """Return a card for each trial that kept its weights, beside its config."""
    cards = {}
    for trial in plan.trials:
        name = trial.folder
        cards[name] = model_card.card(plan, trial, store.trial(name), readings[name], specs[name])
    return {f"trials/{name}/{model_card.FILE}": text.encode() for name, text in cards.items() if text}


def _further_firsts(store: Store, planned: Collection[str]) -> set[str]:
    """Return the trials that planned ones start from, directly or not, and that are not planned themselves."""
    seen, waiting = set(planned), list(planned)
    while waiting:
        config = (store.trial(waiting.pop()).spec() or {}).get("config", {})
        fresh = set(first_trials(config).values()) - seen
        seen |= fresh
        waiting += fresh
    return seen - set(planned)


def checksums(files: dict[str, bytes]) -> bytes:
    """Return the checksums as `sha256sum -c` reads them."""
    return "".join(f"{hashlib.sha256(body).hexdigest()}  {name}\n" for name, body in files.items()).encode()


def zip_bytes(files: dict[str, bytes], top: str) -> bytes:
    """Return a zip with fixed dates, owners and order, everything under one folder."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, body in sorted(files.items()):
            entry = zipfile.ZipInfo(f"{top}/{name}", EPOCH)
            entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, 3, 0o644 << 16
            archive.writestr(entry, body, compresslevel=9)
    return out.getvalue()


def _trial_files(folder: TrialFolder, got: Reading) -> Iterator[Path]:
    """Yield a trial's config, result and environment, where they are what `got` was read from: a damaged file, or a
    result of an earlier attempt, is none. The curves are in the frame."""
    env = folder.attempt_folder(max(got.state.attempt - 1, 0)) / "env.json"
    there = ((folder.spec_file, folder.spec() is not None), (folder.result_file, got.status == "done"), (env, got.env))
    yield from (path for path, whole in there if whole)


def _snapshots(store: Store, sources: set[str]) -> dict[str, Path]:
    """Return fingerprint -> code snapshot; taken now if trials ran in the driver's own process, which keeps none."""
    if fingerprint(root()) in sources:
        take(store.root)
    found = {str((read_json(file) or {}).get("source")): file.parent for file in store.root.glob(f"code/*/{SOURCE}")}
    return {source: found[source] for source in sorted(sources & set(found))}


def _code(snapshot: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(snapshot.rglob("*")):
        if path.is_file() and not path.name.startswith(".") and "__pycache__" not in path.parts:
            yield path.relative_to(snapshot).as_posix(), path.read_bytes()


def unfinished(store: Store, plan: PlanFile) -> list[PlannedTrial]:
    """Return planned trials without a result."""
    return [trial for trial in plan.trials if store.trial(trial.folder).result() is None]
