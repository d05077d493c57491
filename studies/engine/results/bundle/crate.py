"""ro-crate-metadata.json of an export: the zip as an RO-Crate 1.1, which archives read.

Written here and not by the package rocrate, which stamps the time of writing: equal studies give equal bytes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from studies.engine.results.bundle.checklist import CONTENTS
from studies.engine.results.readings import Reading
from studies.engine.storage.plan_file import PlanFile

NAME = "ro-crate-metadata.json"
PROFILE = "https://w3id.org/ro/crate/1.1"
FORMATS = {
    ".json": "application/json", ".csv": "text/csv", ".md": "text/markdown", ".html": "text/html",
    ".tex": "application/x-tex", ".pdf": "application/pdf", ".png": "image/png", ".svg": "image/svg+xml",
    ".yaml": "application/yaml", ".parquet": "application/vnd.apache.parquet", ".npz": "application/zip",
}  # fmt: skip
FOLDERS = ("trials", "code")
"""Folders of folders: each of those is one entry, without its files; SHA256SUMS has them all."""
LICENSE = "To be stated by those who publish these results; the code of dynvit below code/ is under Apache-2.0."
Entity = dict[str, Any]


def crate(
    plan: PlanFile, readings: Mapping[str, Reading], summary: Mapping[str, Any], files: Mapping[str, bytes]
) -> dict[str, Any]:
    """Return the metadata. files: the others of the zip by name, without the checksums."""
    parts = [*_folders(plan, files), *_files(files)]
    results, verdicts = list(_results(summary)), list(_verdicts(summary))
    begun, ended = _span(readings)
    run = {
        "@id": "#run", "@type": "CreateAction", "name": f"Run of study {plan.full_name}", "instrument": _ref("#dynvit"),
        "object": [_ref(quote(name)) for name in files if name.startswith("study/")],
        "result": [_ref(name) for name in ("results.json", "trials.csv") if name in files],
        **({"startTime": begun, "endTime": ended} if ended else {}),
    }  # fmt: skip
    root = {
        "@id": "./", "@type": "Dataset", "name": plan.title or plan.full_name, "license": LICENSE,
        "description": f"Study {plan.full_name}: configs, results, code, tables and figures of {len(readings)} trials.",
        **({"datePublished": ended} if ended else {}),
        "hasPart": [_ref(part["@id"]) for part in parts], "variableMeasured": [_ref(one["@id"]) for one in results],
        "mentions": [_ref("#run"), *(_ref(one["@id"]) for one in verdicts if one["@type"] == "ClaimReview")],
    }  # fmt: skip
    about = {"@id": NAME, "@type": "CreativeWork", "conformsTo": _ref(PROFILE), "about": _ref("./")}
    graph = [about, root, *parts, run, _software(readings), *results, *verdicts]
    return {"@context": f"{PROFILE}/context", "@graph": graph}


def _ref(name: str) -> Entity:
    return {"@id": name}


def _files(files: Mapping[str, bytes]) -> Iterator[Entity]:
    for name, body in files.items():
        path = PurePosixPath(name)
        if path.parts[0] in FOLDERS:
            continue
        known = {"encodingFormat": FORMATS[path.suffix]} if path.suffix in FORMATS else {}
        about = {"name": name, "contentSize": str(len(body)), **known, **_described(name)}
        yield {"@id": quote(name), "@type": "File", **about}  # a reference has no spaces


def _folders(plan: PlanFile, files: Collection[str]) -> Iterator[Entity]:
    titles = {trial.folder: f"{trial.part} {trial.arm} s{trial.seed}" for trial in plan.trials}
    found = dict.fromkeys(PurePosixPath(name).parts[:2] for name in files if name.split("/")[0] in FOLDERS)
    for top, name in found:
        title = titles.get(name, name) if top == "trials" else f"code {name}"
        yield {"@id": f"{top}/{name}/", "@type": "Dataset", "name": title, **_described(f"{top}/")}


def _described(name: str) -> Entity:
    text = next((text for start, text in CONTENTS.items() if name.startswith(start)), "")
    return {"description": text} if text else {}


def _software(readings: Mapping[str, Reading]) -> Entity:
    sources = {str(got.env["source"]) for got in readings.values() if got.env.get("source")}
    return {"@id": "#dynvit", "@type": "SoftwareApplication", "name": "dynvit", "softwareVersion": sorted(sources)}


def _span(readings: Mapping[str, Reading]) -> tuple[str, str]:
    """Return when the first trial began and the last one ended; empty where none has ended."""
    states = [got.state for got in readings.values() if got.state.ended]
    if not states:
        return "", ""
    first, last = min(state.started or state.ended for state in states), max(state.ended for state in states)
    return tuple(datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds") for at in (first, last))  # type: ignore[return-value]


def _results(summary: Mapping[str, Any]) -> Iterator[Entity]:
    for i, line in enumerate(summary["results"]):
        about = f"{line['model'] or line['task']} on {line['dataset'] or 'no data set'}, mean of {line['n']} seeds"
        name = f"{line['part']} {line['arm']}: {line['metric']}"
        unit = {"unitText": line["unit"]} if line["unit"] else {}
        yield {
            "@id": f"#result-{i}", "@type": "PropertyValue", "name": name, "value": line["value"], **unit,
            "description": about,
        }  # fmt: skip


def _verdicts(summary: Mapping[str, Any]) -> Iterator[Entity]:
    """Yield the claims as reviews, then the verdicts that they refer to."""
    for claim in summary["claims"]:
        yield {
            "@id": f"#claim-{quote(claim['name'])}", "@type": "ClaimReview", "name": claim["name"],
            "claimReviewed": claim["text"], "about": claim["paper"],
            "reviewRating": _ref(f"#verdict-{claim['verdict'].replace(' ', '-')}"),
        }  # fmt: skip
    for verdict in dict.fromkeys(claim["verdict"] for claim in summary["claims"]):
        yield {"@id": f"#verdict-{verdict.replace(' ', '-')}", "@type": "Rating", "alternateName": verdict}
